from __future__ import annotations

import pytest

from perdure.codec import encode_failure
from perdure.gateway.answer import Answer, Breach, kept


@pytest.mark.parametrize("body", [b"", b"{}", "ü".encode(), b"\xff\x00", b"\x00", b'"\\u0000"'])
@pytest.mark.parametrize("breach", [None, Breach("ReadError", "gone")])
def test_round_trip(body: bytes, breach: Breach | None) -> None:
    answer = Answer(200, (("content-type", "x"),), body, True, breach, "openai.chat")
    assert Answer.decode(answer.encode()) == answer


def test_a_failure_that_is_no_answer_is_raised() -> None:
    with pytest.raises(ZeroDivisionError, match="by zero"):
        Answer.decode(encode_failure(ZeroDivisionError("by zero")))


def test_headers_that_are_kept() -> None:
    assert kept(
        {
            "Content-Type": "application/json",
            "Request-Id": "r",
            "set-cookie": "secret",
            "authorization": "secret",
            "x-api-key": "secret",
            "content-encoding": "gzip",
            "content-length": "5",
            "transfer-encoding": "chunked",
            "date": "now",
            "anthropic-ratelimit-requests-remaining": "5",
        }
    ) == (("content-type", "application/json"), ("request-id", "r"))
