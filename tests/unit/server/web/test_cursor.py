"""Opaque places in a listing."""

from __future__ import annotations

import pytest

from perdure.errors import InvalidInput
from perdure.server.web import cursor


@pytest.mark.parametrize("place", [0, 1, 4711, 2**63 - 1])
def test_round_trip(place: int) -> None:
    assert cursor.place(cursor.make(place)) == place


@pytest.mark.parametrize(
    "text", ["", "1", "8" + "0" * 15, "0" * 17, "0" * 15 + "G", "0" * 16 + "\n"]
)
def test_what_was_never_made_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        cursor.place(text)
    assert caught.value.detail == {"parameter": "cursor"}
