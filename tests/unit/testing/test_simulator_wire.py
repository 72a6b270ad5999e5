"""The wire formats, as the providers' own SDKs read them over loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from perdure.testing.simulator import Call, ProviderSimulator, Reply, ToolUse, Usage, count_tokens

TEXT = "Two tools will tell: the tide table and the almanac. ünïcode too."
ARGS = {"place": "Brest", "days": [1, 2], "deep": {"ok": True}}
TOOLS = [ToolUse("tides", ARGS), ToolUse("moon", {})]
ASK: Any = [{"role": "user", "content": "When is high tide?"}]


class Teller:
    """A brain that answers with what it was told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.reply = Reply(TEXT)
        self.call: Call | None = None

    def __call__(self, call: Call) -> Reply:
        self.call = call
        return self.reply


@pytest.fixture
async def teller() -> Teller:
    return Teller()


@pytest.fixture
async def sim(teller: Teller) -> AsyncIterator[ProviderSimulator]:
    async with ProviderSimulator(teller) as running:
        yield running


@pytest.fixture
async def claude(sim: ProviderSimulator) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=sim.url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
async def gpt(sim: ProviderSimulator) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=sim.openai_url, api_key="k", max_retries=0) as client:
        yield client


async def test_anthropic_text_whole(
    claude: anthropic.AsyncAnthropic, sim: ProviderSimulator
) -> None:
    message = await claude.messages.create(model="claude-x", max_tokens=64, messages=ASK)
    (block,) = message.content
    assert block.type == "text"
    assert block.text == TEXT
    assert message.model == "claude-x"
    assert message.stop_reason == "end_turn"
    assert message.id.startswith("msg_")
    assert message._request_id is not None
    assert message._request_id.startswith("req_")
    (row,) = sim.calls()
    assert message.usage.output_tokens == row.output_tokens == count_tokens(TEXT)
    assert message.usage.input_tokens == row.input_tokens > 0


@pytest.mark.parametrize("text", ["", TEXT])
async def test_anthropic_parallel_tools_are_the_same_whole_and_streamed(
    claude: anthropic.AsyncAnthropic, teller: Teller, text: str
) -> None:
    teller.reply = Reply(
        text, TOOLS, usage=Usage(100, 50, cache_read=30, cache_write=20, reasoning=5)
    )
    whole = await claude.messages.create(model="m", max_tokens=64, messages=ASK)
    async with claude.messages.stream(model="m", max_tokens=64, messages=ASK) as stream:
        streamed = await stream.get_final_message()
    for message in (whole, streamed):
        assert message.stop_reason == "tool_use"
        uses = [block for block in message.content if block.type == "tool_use"]
        assert [(use.name, use.input) for use in uses] == [("tides", ARGS), ("moon", {})]
        assert len({use.id for use in uses}) == 2
        assert all(use.id.startswith("toolu_") for use in uses)
        assert [b.text for b in message.content if b.type == "text"] == ([text] if text else [])
        assert message.usage.input_tokens == 50
        assert message.usage.cache_read_input_tokens == 30
        assert message.usage.cache_creation_input_tokens == 20
        assert message.usage.output_tokens == 50
        assert message.usage.output_tokens_details is not None
        assert message.usage.output_tokens_details.thinking_tokens == 5


async def test_anthropic_stream_has_the_events_in_order(
    claude: anthropic.AsyncAnthropic, teller: Teller
) -> None:
    teller.reply = Reply("abcdef", [("t", {"a": 1})], chunk=4)
    stream = await claude.messages.create(model="m", max_tokens=9, messages=ASK, stream=True)
    kinds = [event.type async for event in stream]
    assert kinds == [
        "message_start",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_delta",
        "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip


async def test_anthropic_finish_reasons(claude: anthropic.AsyncAnthropic, teller: Teller) -> None:
    teller.reply = Reply("x", finish="length")
    message = await claude.messages.create(model="m", max_tokens=9, messages=ASK)
    assert message.stop_reason == "max_tokens"


async def test_anthropic_conversation_reaches_the_brain(
    claude: anthropic.AsyncAnthropic, teller: Teller
) -> None:
    messages: Any = [
        *ASK,
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "toolu_1", "name": "tides", "input": {"a": 1}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True,
             "content": [{"type": "text", "text": "no table"}]},
            {"type": "text", "text": "go on"}]},
    ]  # fmt: skip
    await claude.messages.create(
        model="m", max_tokens=9, messages=messages, system="be short",
        tools=[{"name": "tides", "description": "d", "input_schema": {"type": "object"}}],
    )  # fmt: skip
    call = teller.call
    assert call is not None
    assert [m.role for m in call.messages] == ["user", "assistant", "tool", "user"]
    assert (call.turn, call.prompt, call.system, call.format) == (
        1,
        "go on",
        "be short",
        "anthropic",
    )
    (result,) = call.results
    assert (result.id, result.content, result.error) == ("toolu_1", "no table", True)
    assert [(t.name, t.description) for t in call.tools] == [("tides", "d")]


async def test_chat_text_whole(gpt: openai.AsyncOpenAI) -> None:
    answer = await gpt.chat.completions.create(model="gpt-x", messages=ASK)
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.id.startswith("chatcmpl-")
    assert answer.usage is not None
    assert answer.usage.completion_tokens == count_tokens(TEXT)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + count_tokens(TEXT)


async def test_chat_parallel_tools_are_the_same_whole_and_streamed(
    gpt: openai.AsyncOpenAI, teller: Teller
) -> None:
    teller.reply = Reply(TEXT, TOOLS, usage=Usage(100, 50, cache_read=30, reasoning=5))
    whole = await gpt.chat.completions.create(model="m", messages=ASK)
    async with gpt.chat.completions.stream(
        model="m", messages=ASK, stream_options={"include_usage": True}
    ) as stream:
        streamed = await stream.get_final_completion()
    for answer in (whole, streamed):
        message = answer.choices[0].message
        assert message.content == TEXT
        assert answer.choices[0].finish_reason == "tool_calls"
        calls: Any = message.tool_calls
        assert [(c.function.name, c.function.arguments) for c in calls] == [
            ("tides", '{"place":"Brest","days":[1,2],"deep":{"ok":true}}'),
            ("moon", "{}"),
        ]
        assert len({c.id for c in calls}) == 2
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (100, 50)
        assert answer.usage.prompt_tokens_details is not None
        assert answer.usage.prompt_tokens_details.cached_tokens == 30
        assert answer.usage.completion_tokens_details is not None
        assert answer.usage.completion_tokens_details.reasoning_tokens == 5


async def test_chat_streams_usage_only_when_asked(gpt: openai.AsyncOpenAI) -> None:
    plain = await gpt.chat.completions.create(model="m", messages=ASK, stream=True)
    chunks = [chunk async for chunk in plain]
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == TEXT
    assert all(chunk.usage is None for chunk in chunks)
    counted = await gpt.chat.completions.create(
        model="m", messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    *rest, last = [chunk async for chunk in counted]
    assert all(chunk.usage is None and chunk.choices for chunk in rest)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == count_tokens(TEXT)


async def test_chat_conversation_reaches_the_brain(gpt: openai.AsyncOpenAI, teller: Teller) -> None:
    def called(ident: str) -> dict[str, Any]:
        return {"id": ident, "type": "function", "function": {"name": "t", "arguments": '{"a":1}'}}

    messages: Any = [
        {"role": "developer", "content": "be short"},
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": [called("c1"), called("c2")]},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
    ]
    tool: Any = {"type": "function", "function": {"name": "t", "parameters": {"type": "object"}}}
    await gpt.chat.completions.create(model="m", messages=messages, tools=[tool])
    call = teller.call
    assert call is not None
    assert [m.role for m in call.messages] == ["system", "user", "assistant", "tool"]
    assert [r.content for r in call.results] == ["one", "two"]
    assert (call.turn, call.system, call.tools[0].schema) == (1, "be short", {"type": "object"})


async def test_responses_text_whole(gpt: openai.AsyncOpenAI) -> None:
    answer = await gpt.responses.create(model="gpt-x", input="When?", instructions="short")
    assert answer.output_text == TEXT
    assert answer.status == "completed"
    assert answer.id.startswith("resp_")
    assert answer.instructions == "short"
    assert answer.usage is not None
    assert answer.usage.output_tokens == count_tokens(TEXT)


async def test_responses_parallel_tools_are_the_same_whole_and_streamed(
    gpt: openai.AsyncOpenAI, teller: Teller
) -> None:
    teller.reply = Reply(TEXT, TOOLS, usage=Usage(100, 50, cache_read=30, reasoning=5))
    whole = await gpt.responses.create(model="m", input="When?")
    async with gpt.responses.stream(model="m", input="When?") as stream:
        events = [event async for event in stream]
        streamed = await stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    for answer in (whole, streamed):
        assert answer.output_text == TEXT
        calls = [item for item in answer.output if item.type == "function_call"]
        assert [(c.name, c.arguments) for c in calls] == [
            ("tides", '{"place":"Brest","days":[1,2],"deep":{"ok":true}}'),
            ("moon", "{}"),
        ]
        assert len({c.call_id for c in calls}) == 2
        assert answer.usage is not None
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (100, 50)
        assert answer.usage.input_tokens_details.cached_tokens == 30
        assert answer.usage.output_tokens_details.reasoning_tokens == 5


async def test_responses_stream_has_the_events_in_order(
    gpt: openai.AsyncOpenAI, teller: Teller
) -> None:
    teller.reply = Reply("abcdef", [("t", {})], chunk=4)
    stream = await gpt.responses.create(model="m", input="q", stream=True)
    kinds = [event.type.removeprefix("response.") async for event in stream]
    assert kinds == [
        "created", "in_progress",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]  # fmt: skip


async def test_responses_that_ran_out_of_tokens_are_incomplete(
    gpt: openai.AsyncOpenAI, teller: Teller
) -> None:
    teller.reply = Reply("x", finish="length")
    answer = await gpt.responses.create(model="m", input="q")
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    async with gpt.responses.stream(model="m", input="q") as stream:
        kinds = [event.type async for event in stream]
    assert kinds[-1] == "response.incomplete"


async def test_responses_go_on_from_a_stored_one(gpt: openai.AsyncOpenAI, teller: Teller) -> None:
    teller.reply = Reply("", [("t", {"a": 1})])
    first = await gpt.responses.create(model="m", input="q1")
    (item,) = first.output
    assert item.type == "function_call"
    output: Any = {"type": "function_call_output", "call_id": item.call_id, "output": "found"}
    await gpt.responses.create(model="m", input=[output], previous_response_id=first.id)
    call = teller.call
    assert call is not None
    assert [m.role for m in call.messages] == ["user", "assistant", "tool"]
    assert call.results[0].content == "found"
    with pytest.raises(openai.BadRequestError) as caught:
        await gpt.responses.create(model="m", input="x", previous_response_id="resp_none")
    assert caught.value.code == "previous_response_not_found"


async def test_responses_items_of_one_response_are_one_turn(
    gpt: openai.AsyncOpenAI, teller: Teller
) -> None:
    def said(text: str) -> dict[str, Any]:
        return {"role": "assistant", "content": [{"type": "output_text", "text": text}]}

    def called(ident: str) -> list[dict[str, Any]]:
        kind = {"type": "function_call", "call_id": ident, "name": "t", "arguments": "{}"}
        return [kind]

    def result(ident: str) -> dict[str, Any]:
        return {"type": "function_call_output", "call_id": ident, "output": ident}

    items: Any = [
        {"role": "user", "content": "q"},
        {"type": "reasoning", "id": "rs_1", "summary": []}, said("looking"),
        *called("c1"), *called("c2"), result("c1"), result("c2"),
        *called("c3"), result("c3"),
        said("one agent"), said("another agent"),
        {"role": "user", "content": "thanks"},
    ]  # fmt: skip
    await gpt.responses.create(model="m", input=items)
    assert teller.call is not None
    assert teller.call.turn == 4


async def test_ids_depend_on_the_request_and_its_occurrence_alone(teller: Teller) -> None:
    teller.reply = Reply("x", TOOLS)

    async def ask(runs: int) -> list[str]:
        async with (
            ProviderSimulator(teller) as sim,
            anthropic.AsyncAnthropic(base_url=sim.url, api_key="any") as client,
        ):
            answers = [
                await client.messages.create(model="m", max_tokens=9, messages=ASK)
                for _ in range(runs)
            ]
            return [answer.to_json(indent=None) for answer in answers]

    one, two = await ask(2), await ask(2)
    assert one == two
    assert one[0] != one[1]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("messages", {"model": "m", "messages": ASK}, "max_tokens"),
        ("messages", {"max_tokens": 1, "messages": ASK}, "model"),
        ("messages", {"model": "m", "max_tokens": 1, "messages": []}, "at least one message"),
        ("messages", {"model": "m", "max_tokens": 1, "messages": [{"role": "robot"}]}, "role"),
        (
            "messages",
            {"model": "m", "max_tokens": 1, "messages": [
                *ASK,
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "toolu_9", "name": "t", "input": {}}]},
                *ASK]},
            "toolu_9",
        ),
        ("chat/completions", {"model": "m"}, "messages"),
        ("chat/completions", {"model": "m", "messages": ASK, "n": 2}, "n must be 1"),
        ("chat/completions", {"model": "m", "messages": [*ASK, 7]}, "role"),
        (
            "chat/completions",
            {"model": "m", "messages": [{"role": "tool", "tool_call_id": "c9", "content": "x"}]},
            "c9",
        ),
        ("responses", {"model": "m"}, "input"),
        ("responses", {"model": "m", "input": "q", "tools": ["no"]}, "cannot be read"),
        ("responses", {"model": "m", "input": "q", "background": True}, "background"),
        (
            "responses",
            {"model": "m", "input": [
                {"type": "function_call", "call_id": "c9", "name": "t", "arguments": "{}"}]},
            "c9",
        ),
    ],
)  # fmt: skip
async def test_malformed_requests_are_refused_in_the_providers_form(
    sim: ProviderSimulator, path: str, body: Any, words: str
) -> None:
    async with httpx2.AsyncClient(base_url=sim.openai_url) as client:
        response = await client.post(path, json=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"
    assert sim.counts().refused == 1


async def test_a_body_that_is_no_json_is_refused(sim: ProviderSimulator) -> None:
    async with httpx2.AsyncClient(base_url=sim.url) as client:
        for content in (b"{", b"[1]"):
            response = await client.post("/v1/messages", content=content)
            assert response.status_code == 400
            assert response.json()["type"] == "error"
    assert sim.counts().refused == 2


async def test_models_are_listed_in_each_providers_form(
    claude: anthropic.AsyncAnthropic, gpt: openai.AsyncOpenAI
) -> None:
    theirs = [model.id async for model in claude.models.list()]
    ours = [model.id async for model in gpt.models.list()]
    assert theirs == ours == ["claude-simulated", "gpt-simulated"]
    assert (await claude.models.retrieve(theirs[0])).display_name == theirs[0]
    with pytest.raises(openai.NotFoundError):
        await gpt.models.retrieve("nothing")
    with pytest.raises(anthropic.NotFoundError):
        await claude.models.retrieve("nothing")


def test_sync_clients(teller: Teller) -> None:
    teller.reply = Reply(TEXT, TOOLS)
    with (
        ProviderSimulator(teller) as sim,
        anthropic.Anthropic(base_url=sim.url, api_key="any") as claude,
        openai.OpenAI(base_url=sim.openai_url, api_key="any") as gpt,
    ):
        with claude.messages.stream(model="m", max_tokens=9, messages=ASK) as events:
            assert events.get_final_text() == TEXT
        with gpt.chat.completions.stream(model="m", messages=ASK) as chunks:
            assert chunks.get_final_completion().choices[0].message.content == TEXT
        with gpt.responses.stream(model="m", input="q") as stream:
            assert stream.get_final_response().output_text == TEXT
        assert sim.counts().answered == 3
