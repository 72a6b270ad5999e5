"""Usage that only we asked for is kept from the agent and for the ledger."""

from __future__ import annotations

import pytest

from perdure.gateway.answer import Answer
from perdure.gateway.hidden import without_usage
from perdure.gateway.usage import Usage, usage

FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n'
TOOK = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    "held",
    [[FINISH, TOOK, DONE], [FINISH + TOOK + DONE], [FINISH + TOOK[:20], TOOK[20:] + DONE]],
)
def test_the_event_is_taken_out_however_it_is_cut(held: list[bytes]) -> None:
    kept, found = without_usage(held)
    assert b"".join(kept) == FINISH + DONE
    assert found == {"prompt_tokens": 7, "completion_tokens": 3}


def test_other_line_ends() -> None:
    held = [part.replace(b"\n", b"\r\n") for part in (FINISH, TOOK, DONE)]
    kept, found = without_usage(held)
    assert b"".join(kept) == held[0] + held[2]
    assert found is not None


@pytest.mark.parametrize("held", [[FINISH, DONE], [], [b"data: {broken\n\n"]])
def test_what_has_none_stays_as_it_is(held: list[bytes]) -> None:
    assert without_usage(held) == (held, None)


def test_a_recorded_answer_still_says_what_it_took() -> None:
    answer = Answer(
        200,
        (("content-type", "text/event-stream"),),
        FINISH + DONE,
        True,
        None,
        "openai.chat",
        {"prompt_tokens": 7, "completion_tokens": 3},
    )
    assert usage(Answer.decode(answer.encode())) == Usage(7, 3)
