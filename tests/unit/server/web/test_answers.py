"""What Accept asks for."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from perdure.server.web.answers import EVENT_STREAM, accepts


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("text/event-stream", True),
        ("application/json, Text/Event-Stream; q=0.9", True),
        ("text/event-stream;q=0", False),
        ("*/*", False),
        ("text/*", False),
        ("", False),
    ],
)
def test_accepts(accept: str, wanted: bool) -> None:
    assert accepts(Headers({"accept": accept}), EVENT_STREAM) is wanted
    assert not accepts(Headers({}), EVENT_STREAM)
