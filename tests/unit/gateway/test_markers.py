"""Where Anthropic's cache markers are placed."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from perdure.gateway.formats.anthropic import MESSAGES
from perdure.gateway.markers import MARKER, marked, worthwhile
from perdure.gateway.request import Request

TOOLS: list[dict[str, Any]] = [
    {"name": "search", "input_schema": {}},
    {"name": "late", "defer_loading": True},
]
CHAT = [
    {"role": "user", "content": "Find it."},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "x"},
            {"type": "tool_use", "id": "1", "name": "search", "input": {}},
        ],
    },
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "here"}]},
]


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": "claude-sonnet-5", "max_tokens": 10, **fields}


def places(body: Any, path: str = "") -> list[str]:
    """Where there are markers."""
    if isinstance(body, dict):
        found = [path] if body.get("cache_control") == MARKER else []
        return found + [p for key, value in body.items() for p in places(value, f"{path}.{key}")]
    if isinstance(body, list):
        return [p for n, item in enumerate(body) for p in places(item, f"{path}.{n}")]
    return []


def test_behind_tools_system_and_the_last_two_messages_of_the_user() -> None:
    body = ask(tools=TOOLS, system="Be kind.", messages=CHAT)
    before = orjson.dumps(body)
    out = marked(body)
    assert places(out) == [
        ".tools.0", ".system.0", ".messages.0.content.0", ".messages.2.content.0",
    ]  # fmt: skip
    assert out is not None
    assert out["system"][0]["text"] == "Be kind."
    assert orjson.dumps(body) == before


def test_an_assistant_message_may_be_the_last() -> None:
    chat = [*CHAT[:1], {"role": "assistant", "content": "I"}]
    assert places(marked(ask(messages=chat))) == [
        ".messages.0.content.0", ".messages.1.content.0",
    ]  # fmt: skip


def test_at_most_four() -> None:
    body = ask(tools=TOOLS, system="Be kind.", messages=CHAT * 9)
    assert len(places(marked(body))) == 4


@pytest.mark.parametrize(
    "body",
    [
        ask(system=[{"type": "text", "text": "a", "cache_control": MARKER}], messages=CHAT),
        ask(cache_control=MARKER, messages=CHAT),
        ask(tools=[{**TOOLS[0], "cache_control": MARKER}], messages=CHAT),
        ask(
            messages=[
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "1",
                            "content": [{"type": "text", "text": "x", "cache_control": MARKER}],
                        }
                    ],
                }
            ]
        ),
    ],
)
def test_an_agents_own_stay_as_they_are(body: dict[str, Any]) -> None:
    assert marked(body) is None


def test_what_can_carry_none_gets_none() -> None:
    thought = [{"type": "thinking", "thinking": "hm", "signature": "x"}]
    empty = [{"type": "text", "text": ""}]
    for content in ("", [], thought, empty, None, 3):
        body = ask(system="", tools=[], messages=[{"role": "assistant", "content": content}])
        assert marked(body) is None
    assert marked(ask(messages=[])) is None
    assert marked(ask(messages=["broken"], tools=["broken"])) is None


def test_the_question_stays_the_same() -> None:
    body = ask(tools=TOOLS, system=[{"type": "text", "text": "Be kind."}], messages=[CHAT[2]])
    plain = orjson.dumps(body)
    request = Request("anthropic.messages", plain, "claude-sonnet-5", streamed=False)
    sent = request.changed(fields=marked(request.fields))
    assert sent != plain
    first, second = (
        MESSAGES.ask("anthropic", "/v1/messages", {}, data).digest for data in (plain, sent)
    )
    assert first == second


@pytest.mark.parametrize(
    ("model", "least"),
    [
        ("claude-haiku-4-5-20251001", 4096),
        ("claude-opus-4-6", 4096),
        ("claude-opus-4-7", 2048),
        ("claude-opus-4-1", 1024),
        ("claude-sonnet-4-6", 1024),
        ("claude-opus-5", 512),
        ("claude-of-tomorrow", 512),
    ],
)
def test_short_prompts_are_not_kept_by_the_provider(model: str, least: int) -> None:
    assert worthwhile(model, least * 2)
    assert not worthwhile(model, least * 2 - 1)
