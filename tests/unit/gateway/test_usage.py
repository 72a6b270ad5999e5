"""Tokens of every wire format, whole and streamed, as the providers' references show them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from perdure.gateway.answer import Answer
from perdure.gateway.providers import PROVIDERS
from perdure.gateway.usage import READERS, Usage, reading, usage


def whole(format_: str, body: Any, status: int = 200) -> Answer:
    headers = (("content-type", "application/json"),)
    return Answer(status, headers, json.dumps(body).encode(), format=format_)


def stream(format_: str, *events: Any, cut: bool = False) -> Answer:
    text = "".join(f"event: x\ndata: {json.dumps(event)}\n\n" for event in events)
    body = (text.rstrip("\n") if cut else text + "data: [DONE]\n\n").encode()
    headers = (("content-type", "text/event-stream; charset=utf-8"),)
    return Answer(200, headers, body, streamed=True, format=format_)


CLAUDE = {
    "input_tokens": 10,
    "cache_read_input_tokens": 100,
    "cache_creation_input_tokens": 5,
    "output_tokens": 7,
}
CHAT = {
    "prompt_tokens": 115,
    "completion_tokens": 7,
    "total_tokens": 122,
    "prompt_tokens_details": {"cached_tokens": 100},
}
RESPONSES = {
    "input_tokens": 115,
    "input_tokens_details": {"cached_tokens": 100},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 3},
}
GEMINI = {
    "promptTokenCount": 110,
    "toolUsePromptTokenCount": 5,
    "cachedContentTokenCount": 100,
    "candidatesTokenCount": 4,
    "thoughtsTokenCount": 3,
}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (whole("anthropic.messages", {"type": "message", "usage": CLAUDE}), Usage(115, 7, 100, 5)),
        (
            stream(
                "anthropic.messages",
                {"type": "message_start", "message": {"usage": {**CLAUDE, "output_tokens": 1}}},
                {"type": "message_delta", "usage": {"output_tokens": 7, "input_tokens": None}},
                {"type": "message_stop"},
            ),
            Usage(115, 7, 100, 5),
        ),
        (whole("vertex.claude", {"usage": CLAUDE}), Usage(115, 7, 100, 5)),
        (whole("openai.chat", {"usage": CHAT}), Usage(115, 7, 100)),
        (
            stream("openai.chat", {"choices": [], "usage": None}, {"choices": [], "usage": CHAT}),
            Usage(115, 7, 100),
        ),
        (stream("openai.chat", {"x_groq": {"usage": CHAT}}), Usage(115, 7, 100)),
        (stream("openai.chat", {"choices": [{"delta": {"content": "hi"}}]}), None),
        (whole("openai.responses", {"usage": RESPONSES}), Usage(115, 7, 100, reasoning=3)),
        (
            stream(
                "openai.responses",
                {"type": "response.created", "response": {"usage": None}},
                {"type": "response.completed", "response": {"usage": RESPONSES}},
                cut=True,
            ),
            Usage(115, 7, 100, reasoning=3),
        ),
        (whole("openai.embeddings", {"usage": {"prompt_tokens": 8}}), Usage(8, 0)),
        (whole("openai.plain", {"usage": {"type": "duration", "seconds": 9}}), None),
        (whole("google.generate", {"usageMetadata": GEMINI}), Usage(115, 7, 100, reasoning=3)),
        (
            stream(
                "google.generate",
                {"usageMetadata": {"promptTokenCount": 115}},
                {"usageMetadata": GEMINI},
            ),
            Usage(115, 7, 100, reasoning=3),
        ),
        (
            whole(
                "google.generate",
                [{"usageMetadata": {"promptTokenCount": 1}}, {"usageMetadata": GEMINI}],
            ),
            Usage(115, 7, 100, reasoning=3),
        ),
        (
            whole(
                "bedrock",
                {"usage": {"inputTokens": 10, "outputTokens": 7, "cacheReadInputTokens": 105}},
            ),
            Usage(115, 7, 105),
        ),
        (whole("bedrock", {"usage": CLAUDE}), Usage(115, 7, 100, 5)),
        (
            whole("cohere", {"usage": {"tokens": {"input_tokens": 115, "output_tokens": 7}}}),
            Usage(115, 7),
        ),
        (
            whole("cohere", {"meta": {"billed_units": {"input_tokens": 115}}}),
            Usage(115, 0),
        ),
        (
            stream(
                "cohere",
                {"type": "content-delta", "delta": {"message": {}}},
                {
                    "type": "message-end",
                    "delta": {"usage": {"tokens": {"input_tokens": 115, "output_tokens": 7}}},
                },
            ),
            Usage(115, 7),
        ),
    ],
)
def test_tokens(answer: Answer, expected: Usage | None) -> None:
    assert usage(answer) == expected


def test_every_wire_format_is_read() -> None:
    known = {wire.name for provider in PROVIDERS for wire in provider.formats}
    assert READERS.keys() == known


@pytest.mark.parametrize("format_", READERS)
@pytest.mark.parametrize(
    "body", [b"", b"nothing", b"[1, null]", b"{}", b'{"usage": 3}', b"\xff\x00"]
)
def test_an_answer_that_does_not_say_has_no_amount(format_: str, body: bytes) -> None:
    assert usage(Answer(200, (), body, format=format_)) is None
    assert usage(Answer(200, (("content-type", "text/event-stream"),), body, True)) is None


def test_errors_and_unknown_formats_have_none() -> None:
    assert usage(whole("openai.chat", {"usage": CHAT}, status=400)) is None
    assert usage(whole("", {"usage": CHAT})) is None


def test_amounts_add_up() -> None:
    assert Usage(1, 2, 3, 4).plus(Usage(10, 20, 30, 40)) == Usage(11, 22, 33, 44)


def test_thoughts_searches_and_what_is_cached_for_an_hour() -> None:
    claude = {
        **CLAUDE,
        "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3},
        "output_tokens_details": {"thinking_tokens": 4},
        "server_tool_use": {"web_search_requests": 2},
    }
    expected = Usage(115, 7, 100, 5, cache_write_1h=3, reasoning=4, searches=2)
    assert usage(whole("anthropic.messages", {"usage": claude})) == expected
    chat = {
        **CHAT,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 9},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    assert usage(whole("openai.chat", {"usage": chat})) == Usage(115, 7, 100, 9, reasoning=5)


def test_thoughts_that_are_counted_beside_the_answer_are_output_too() -> None:
    """docs.x.ai, "Reasoning": ``completion_tokens`` has them not in it, ``total_tokens`` has."""
    chat = {**CHAT, "total_tokens": 172, "completion_tokens_details": {"reasoning_tokens": 50}}
    assert usage(whole("openai.chat", {"usage": chat})) == Usage(115, 57, 100, reasoning=50)


@pytest.mark.parametrize(
    ("answer", "terms"),
    [
        (whole("openai.chat", {"usage": CHAT, "service_tier": "default"}), {}),
        (whole("openai.chat", {"usage": CHAT, "service_tier": "flex"}), {"service_tier": "flex"}),
        (
            stream("openai.responses", {"response": {"service_tier": "auto"}},
                   {"response": {"service_tier": "priority", "usage": RESPONSES}}),
            {"service_tier": "priority"},
        ),
        (
            stream("anthropic.messages", {"type": "message_start", "message": {"usage": {
                **CLAUDE, "service_tier": "standard", "speed": "fast"}}}),
            {"speed": "fast"},
        ),
        (
            whole("openai.chat", {"usage": {
                **CHAT, "completion_tokens_details": {"audio_tokens": 5}}}),
            {"modality": "audio"},
        ),
        (whole("openai.chat", {"usage": CHAT}, status=429), {}),
        (whole("unheard-of", {"usage": CHAT}), {}),
    ],
)  # fmt: skip
def test_terms_that_a_price_depends_on(answer: Answer, terms: dict[str, str]) -> None:
    assert reading(answer)[1] == terms
