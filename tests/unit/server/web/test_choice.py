"""?fields="""

from __future__ import annotations

import pytest

from perdure.errors import InvalidInput
from perdure.server.web.choice import chosen, fields

RUN = {"id": 1, "state": "x", "result": "aGk=", "result_encoding": "base64"}


def test_everything_where_nothing_is_said() -> None:
    assert chosen(RUN, fields(None, RUN)) == RUN


def test_only_what_is_named() -> None:
    assert chosen(RUN, fields("state, id,state", RUN)) == {"id": 1, "state": "x"}


def test_how_a_payload_is_encoded_stays_with_it() -> None:
    assert chosen(RUN, fields("result", RUN)) == {"result": "aGk=", "result_encoding": "base64"}


@pytest.mark.parametrize("text", ["", "nope", "id,", "id,nope"])
def test_unknown_ones_are_told(text: str) -> None:
    with pytest.raises(InvalidInput, match="no field"):
        fields(text, {"id", "state"})
