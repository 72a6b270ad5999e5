from __future__ import annotations

from typing import Any

import orjson
import pytest

from perdure.gateway.formats import (
    BEDROCK,
    CLAUDE_ON_VERTEX,
    COHERE,
    GENERATE,
    MESSAGES,
    OPENAI,
    Format,
    Question,
)
from perdure.gateway.formats.multipart import read_form
from perdure.gateway.sse import Event

CHAT, RESPONSES, _EMBEDDINGS, _COMPLETIONS, PLAIN = OPENAI
CHAT_PATH = "/v1/chat/completions"


def ask(
    wire: Format,
    body: Any,
    path: str = "",
    headers: dict[str, str] | None = None,
    provider: str = "p",
) -> Question:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return wire.ask(provider, path, headers or {}, data)


def merge(parts: tuple[bytes, ...]) -> dict[str, Any]:
    """Puts a stored request together again, as documented."""
    whole: dict[str, Any] = {}
    for part in parts:
        for key, value in orjson.loads(part).items():
            if isinstance(value, list) and key in whole:
                whole[key] = whole[key] + value
            else:
                whole[key] = value
    return whole


BASE = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def test_the_order_of_keys_and_spaces_says_nothing() -> None:
    a = ask(CHAT, b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')
    b = ask(CHAT, b'{ "messages": [{"content":"hi", "role":"user"}], "model":"m" }')
    assert a.digest == b.digest
    assert a.name == "p/m"


@pytest.mark.parametrize(
    ("wire", "field"),
    [
        *((wire, field) for wire in (CHAT, RESPONSES) for field in (
            "prompt_cache_key", "user", "metadata", "store", "stream_options", "service_tier",
            "safety_identifier", "prompt_cache_retention",
        )),
        *((MESSAGES, field) for field in ("metadata", "service_tier", "cache_control")),
    ],
)  # fmt: skip
def test_fields_that_do_not_shape_the_answer(wire: Format, field: str) -> None:
    assert ask(wire, BASE).digest == ask(wire, {**BASE, field: "x"}).digest


@pytest.mark.parametrize("wire", [CHAT, RESPONSES, MESSAGES, GENERATE, COHERE, BEDROCK])
@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"temperature": 0.5},
        {"messages": [{"role": "user", "content": "ho"}]},
        {"messages": BASE["messages"] * 2},  # type: ignore[operator]
        {"tools": []},
        {"stream": True},
        {"a_field_of_tomorrow": 1},
    ],
)
def test_fields_that_shape_the_answer(wire: Format, change: dict[str, Any]) -> None:
    assert ask(wire, BASE).digest != ask(wire, {**BASE, **change}).digest


def test_credentials_versions_and_tracing_in_headers_say_nothing() -> None:
    quiet = ask(MESSAGES, BASE, headers={"x-api-key": "a", "anthropic-version": "1"})
    other = ask(MESSAGES, BASE, headers={"x-api-key": "b", "traceparent": "c"})
    assert quiet.digest == other.digest


def test_anthropics_opt_in_features_shape_the_answer() -> None:
    one = ask(MESSAGES, BASE, headers={"anthropic-beta": "b, a"})
    assert one.digest == ask(MESSAGES, BASE, headers={"anthropic-beta": "a,b"}).digest
    assert one.digest != ask(MESSAGES, BASE, headers={"anthropic-beta": "a"}).digest
    assert one.digest != ask(MESSAGES, BASE).digest


def test_markers_of_prompt_caching_say_nothing_but_what_tools_get_does() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}

    def body(mark: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
        return {
            "model": "m",
            "system": [{"type": "text", "text": "s", **mark}],
            "tools": [{"name": "t", **mark}],
            "messages": [
                {"role": "assistant", "content": [{"type": "tool_use", "input": args, **mark}]},
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "content": [{"type": "text", "text": "r", **mark}],
                            **mark,
                        }
                    ],
                },
            ],
        }

    assert ask(MESSAGES, body({}, {})).digest == ask(MESSAGES, body(mark, {})).digest
    assert ask(MESSAGES, body({}, {})).digest != ask(MESSAGES, body({}, mark)).digest


def test_parts_make_up_the_request_and_conversations_share_them() -> None:
    first = {
        "model": "m",
        "max_tokens": 5,
        "system": [{"type": "text", "text": "s"}],
        "tools": [{"name": "t"}],
        "messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}],
    }
    second = {**first, "messages": [*first["messages"], {"role": "user", "content": "3"}]}  # type: ignore[misc]
    a, b = ask(MESSAGES, first), ask(MESSAGES, second)
    assert merge(a.parts) == first
    assert merge(b.parts) == second
    assert b.parts[: len(a.parts)] == a.parts
    assert len(b.parts) == len(a.parts) + 1


def test_a_field_and_its_neighbour_cannot_be_confused() -> None:
    one = ask(CHAT, {"model": "m", "messages": [{"a": 1}, {"b": 2}]})
    two = ask(CHAT, {"model": "m", "messages": [[{"a": 1}], {"b": 2}]})
    assert one.digest != two.digest


def test_the_path_names_model_and_operation() -> None:
    gemini = "/v1beta/models/gemini-3:"
    whole = ask(GENERATE, {"contents": []}, gemini + "generateContent")
    stream = ask(GENERATE, {"contents": []}, gemini + "streamGenerateContent")
    assert whole.name == stream.name == "p/gemini-3"
    assert (whole.streamed, stream.streamed) == (False, True)
    assert whole.digest != stream.digest
    other = ask(GENERATE, {"contents": []}, "/v1beta/models/gemini-4:generateContent")
    assert other.digest != whole.digest
    azure = ask(CHAT, {"messages": []}, "/openai/deployments/mine/chat/completions")
    assert azure.name == "p/mine"
    claude = ask(CLAUDE_ON_VERTEX, {"messages": []}, "/x/models/claude-x:streamRawPredict")
    assert (claude.name, claude.streamed) == ("p/claude-x", True)
    bedrock = ask(BEDROCK, {}, "/model/c/converse-stream")
    assert (bedrock.name, bedrock.streamed) == ("p/c", True)


@pytest.mark.parametrize("body", [b"", b"\xff\x00", b"[1]", b"null", b'{"model": 5}'])
def test_odd_bodies_are_digested_as_they_are(body: bytes) -> None:
    asked = ask(CHAT, body)
    assert asked.name == "p/unknown"
    assert asked.digest == ask(CHAT, body).digest
    assert asked.digest != ask(CHAT, body + b" 1").digest


def test_names_hold_no_nul_and_have_an_end() -> None:
    asked = ask(CHAT, {"model": "a\0b" + "c" * 1000})
    assert asked.name.startswith("p/ab")
    assert len(asked.name) == 200


def form(boundary: str, name: str = "a.wav", data: bytes = b"\r\n--\x00", model: str = "w") -> Any:
    marker = boundary.strip('"')
    head = f"--{marker}\r\n"
    body = (
        f'{head}Content-Disposition: form-data; name="model"\r\n\r\n{model}\r\n'
        f'{head}Content-Disposition: form-data; name="user"\r\n\r\n{boundary}\r\n'
        f'{head}Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: audio/wav\r\n\r\n"
    ).encode() + data
    body += f"\r\n--{marker}--\r\n".encode()
    content_type = f"multipart/form-data; boundary={boundary}"
    return ask(PLAIN, body, "/v1/audio/transcriptions", {"content-type": content_type})


def test_the_boundary_of_a_form_says_nothing() -> None:
    assert form("one").name == "p/w"
    assert form("one").digest == form('"two two"').digest
    assert form("one").digest != form("one", data=b"x").digest
    assert form("one").digest != form("one", name="b.wav").digest
    assert form("one").digest != form("one", model="v").digest


def test_a_malformed_form_is_digested_raw() -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert read_form(headers["content-type"], b"nothing") is None
    assert read_form("multipart/form-data", b"--x--") is None
    assert read_form(headers["content-type"], b"--x\r\nno blank line\r\n--x--") is None
    a, b = ask(PLAIN, b"nothing", headers=headers), ask(PLAIN, b"other", headers=headers)
    assert a.digest != b.digest


def judge(wire: Format, data: str, name: str = "") -> Any:
    assert wire.judge is not None
    return wire.judge(Event(name, data))


def test_what_streams_say() -> None:
    assert not judge(MESSAGES, '{"type":"message_start"}').begun
    text = '{"type":"content_block_delta","delta":{"type":"text_delta","text":"a"}}'
    assert judge(MESSAGES, text).text == "a"
    assert judge(MESSAGES, '{"type":"message_stop"}').end
    failed = judge(MESSAGES, '{"type":"error","error":{"type":"overloaded_error"}}')
    assert failed.error == {"type": "overloaded_error"}
    opening = '{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}'
    assert not judge(CHAT, opening).begun
    assert judge(CHAT, '{"choices":[{"index":0,"delta":{"content":"a"}}]}').text == "a"
    assert judge(CHAT, '{"choices":[{"index":0,"delta":{"tool_calls":[{}]}}]}').begun
    finish = judge(CHAT, '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}')
    assert (finish.end, finish.may_end) == (False, True)
    assert judge(CHAT, "[DONE]").end
    assert judge(CHAT, '{"error":"no"}').error == {"message": "no"}
    assert not judge(RESPONSES, '{"type":"response.created"}').begun
    assert judge(RESPONSES, '{"type":"response.output_text.delta","delta":"a"}').text == "a"
    assert judge(RESPONSES, '{"type":"response.incomplete"}').end
    broke = '{"type":"response.failed","response":{"error":{"code":"server_error"}}}'
    assert judge(RESPONSES, broke).error == {"code": "server_error"}
    gemini = '{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}'
    assert judge(GENERATE, gemini).text == "a"
    assert judge(GENERATE, gemini).may_end
    assert judge(GENERATE, '{"promptFeedback":{"blockReason":"SAFETY"}}').may_end
    cohere = '{"type":"content-delta","delta":{"message":{"content":{"text":"a"}}}}'
    assert judge(COHERE, cohere).text == "a"
    assert judge(COHERE, '{"type":"message-end","delta":{"finish_reason":"COMPLETE"}}').end
    assert judge(COHERE, '{"type":"message-end","delta":{"finish_reason":"ERROR"}}').error


@pytest.mark.parametrize("wire", [MESSAGES, CHAT, RESPONSES, PLAIN, GENERATE, COHERE])
@pytest.mark.parametrize("data", ["", "x", "[]", "1", "{}", '{"choices":1,"candidates":1}'])
def test_odd_events_are_content_at_most(wire: Format, data: str) -> None:
    sign = judge(wire, data)
    assert not sign.end
    assert sign.error is None


@pytest.mark.parametrize("wire", [MESSAGES, *OPENAI, GENERATE, COHERE, BEDROCK])
def test_refusals_speak_the_providers_language(wire: Format) -> None:
    assert "because" in orjson.dumps(wire.error(503, "because")).decode()
