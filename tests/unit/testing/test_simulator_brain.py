"""Brains: echo, script, research, one's own, and those that fail."""

from __future__ import annotations

import logging
from typing import Any

import httpx2
import openai
import pytest

from perdure.testing.simulator import (
    BrainError,
    Call,
    Fault,
    Message,
    ProviderSimulator,
    Reply,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    ToolUse,
    count_tokens,
    echo,
    research,
    script,
)  # fmt: skip
from perdure.testing.simulator.brain import Brain
from perdure.testing.simulator.research import example

SEARCH = Tool(
    "search",
    schema={"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
)
FETCH = Tool("fetch", schema={"properties": {"page": {"type": "integer", "maximum": 2}}})


def call(*messages: Message, tools: tuple[Tool, ...] = ()) -> Call:
    return Call(
        n=1, format="chat", path="/", model="m", messages=messages, tools=tools, system="",
        stream=False, digest="d", occurrence=1, input_tokens=1, body={}, headers={},
    )  # fmt: skip


def user(text: str) -> Message:
    return Message("user", (Text(text),))


def turn(ident: str, result: str) -> tuple[Message, Message]:
    asked = Message("assistant", (ToolCall(ident, "search", {}),))
    return asked, Message("tool", (ToolResult(ident, result),))


def test_echo_says_the_last_words_or_the_results() -> None:
    assert echo(call(user("one"), user("two"))).text == "two"
    assert echo(call(user("one"), *turn("a", "found"))).text == "found"


def test_a_script_goes_by_the_turns_of_the_conversation() -> None:
    brain: Any = script([Reply("", [("search", {})]), "done"])
    fresh, later = call(user("q")), call(user("q"), *turn("a", "r"))
    assert brain(fresh).tools == [("search", {})]
    assert brain(later).text == "done"
    assert brain(fresh) == brain(fresh)
    with pytest.raises(BrainError, match="at turn 2"):
        brain(call(user("q"), *turn("a", "r"), *turn("b", "r")))
    with pytest.raises(BrainError):
        script([])


def test_research_uses_the_tools_in_turn_then_reports() -> None:
    brain: Any = research(2, parallel=2)
    first = brain(call(user("tides"), tools=(SEARCH, FETCH)))
    assert first.tools == [
        ToolUse("search", {"q": "tides (overview)"}), ToolUse("fetch", {"page": 2}),
    ]  # fmt: skip
    second = brain(call(user("tides"), *turn("a", "r1"), tools=(SEARCH, FETCH)))
    assert [use.name for use in second.tools] == ["search", "fetch"]
    assert second.tools != first.tools
    last = call(user("tides"), *turn("a", "r1"), *turn("b", "r2"), tools=(SEARCH, FETCH))
    report = brain(last)
    assert not report.tools
    assert "1. r1\n2. r2" in report.text
    assert "Based on 2 sources." in report.text
    assert brain(call(user("tides"))).tools == ()
    with pytest.raises(ValueError):
        research(parallel=0)


def test_examples_fit_their_schemas() -> None:
    schema = {
        "properties": {
            "word": {"type": "string"}, "kind": {"enum": ["a", "b"]}, "yes": {"type": "boolean"},
            "many": {"type": "array", "items": {"$ref": "#/$defs/Item"}}, "fix": {"const": 3},
            "maybe": {"anyOf": [{"type": "number", "minimum": 5}, {"type": "null"}]},
            "usual": {"type": "string", "default": "d"}, "none": {"type": ["null", "string"]},
        },
        "$defs": {"Item": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    }  # fmt: skip
    assert example(schema, "topic", 1) == {
        "word": "topic", "kind": "b", "yes": True, "many": [{"n": 2}], "fix": 3, "maybe": 5,
        "usual": "d", "none": None,
    }  # fmt: skip


@pytest.mark.parametrize("data", ["", "a", "abcd", "abcde", "ü", "日本語"])
def test_a_token_is_four_bytes(data: str) -> None:
    size = len(data.encode())
    assert count_tokens(data) == count_tokens(data.encode()) == size // 4 + (size % 4 > 0)


async def test_an_async_brain_sees_the_request() -> None:
    async def brain(call: Call) -> Reply:
        return Reply(f"{call.n} {call.occurrence} {call.headers['x-team']} {call.body['seed']}")

    async with (
        ProviderSimulator(brain) as sim,
        openai.AsyncOpenAI(base_url=sim.openai_url, api_key="any") as gpt,
    ):
        answer = await gpt.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "q"}], seed=5,
            extra_headers={"X-Team": "red"},
        )  # fmt: skip
    assert answer.choices[0].message.content == "1 1 red 5"


def angry(call: Call) -> Reply:
    raise ValueError("no idea")


async def angry_later(call: Call) -> Reply:
    raise ValueError("no idea")


def mute(call: Call) -> Any:
    return None


def spoilt(call: Call) -> Fault:
    return Fault("break")


def unserializable(call: Call) -> Reply:
    return Reply("", [("t", {"x": object()})])


def empty_chunks(call: Call) -> Reply:
    return Reply("x", chunk=0)


@pytest.mark.parametrize(
    ("brain", "words"),
    [
        (angry, "no idea"),
        (angry_later, "no idea"),
        (mute, "NoneType"),
        (spoilt, "'break'"),
        (unserializable, "object"),
        (empty_chunks, "chunk"),
        (script(["one"]), "The script has 1 reply"),
    ],
)
async def test_a_brain_that_fails_is_a_500_that_nobody_retries(
    brain: Brain, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "perdure.testing.simulator")
    items: Any = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    async with (
        ProviderSimulator(brain) as sim,
        openai.AsyncOpenAI(base_url=sim.openai_url, api_key="any") as gpt,
    ):
        with pytest.raises(openai.InternalServerError, match=words):
            await gpt.responses.create(model="m", input=items)
        (row,) = sim.calls()
        assert (row.status, row.fault, row.http_status) == ("refused", "brain", 500)


async def test_pace_and_delay_put_time_between() -> None:
    reply = Reply("abcd", chunk=1, pace=0.002, delay=0.02)
    async with (
        ProviderSimulator(lambda call: reply) as sim,
        httpx2.AsyncClient(base_url=sim.openai_url) as client,
    ):
        body: dict[str, Any] = {"model": "m", "input": "q"}
        await client.post("responses", json=body)
        await client.post("responses", json={**body, "stream": True})
        whole, streamed = sim.calls()
    assert whole.finished is not None
    assert streamed.finished is not None
    assert whole.finished - whole.started >= 0.02
    assert streamed.finished - streamed.started >= 0.02 + 12 * 0.002
