"""Eval sets: what is read, what is refused, and what an answer is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from perdure.cli.drill.asking import FORMATS, Way, request, text, way
from perdure.cli.drill.questions import read, score
from perdure.core.routing import Route, Target
from perdure.errors import InvalidInput, UsageError

SCHEMA = {"json_schema": {"type": "object", "required": ["n"]}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "questions.jsonl"


def test_lines_are_questions(file: Path) -> None:
    file.write_text(
        '{"input": "2+2?", "expect": "4"}\n\n'
        '{"id": "x", "messages": [], "stream": true, "max_tokens": 9, "expect": {"regex": "a"}}\n'
    )
    first, second = read(file, judged=False)
    assert (first.id, first.fields, first.expect) == ("1", {"input": "2+2?"}, "4")
    assert (second.id, second.fields) == ("x", {"messages": [], "max_tokens": 9})


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", ":1 is no JSON"),
        ("[]", "no object"),
        ('{"expect": "4"}', "no object"),
        ('{"input": "a"}', 'no "expect"'),
        ('{"input": "a", "expect": 4}', "neither a text nor"),
        ('{"input": "a", "expect": {"like": "b"}}', "neither a text nor"),
        ('{"input": "a", "expect": {"regex": "("}}', "no regular expression"),
        ('{"input": "a", "expect": {"contains": [1]}}', "wants text"),
        ('{"input": "a", "expect": {"json_schema": {"type": "nothing"}}}', "no schema"),
        ('{"id": 2, "input": "a", "expect": "b"}\n{"input": "a", "expect": "b"}', "twice"),
        ("", "no questions"),
    ],
)
def test_what_cannot_be_meant(file: Path, line: str, says: str) -> None:
    file.write_text(line)
    with pytest.raises(InvalidInput, match=says):
        read(file, judged=False)


def test_a_judge_needs_no_expectation(file: Path) -> None:
    file.write_text('{"input": "a"}\n{"input": "b", "expect": {"anything": 1}}')
    assert [one.expect for one in read(file, judged=True)] == [None, {"anything": 1}]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read(tmp_path / "nothing", judged=False)


@pytest.mark.parametrize(
    ("expect", "answer", "worth"),
    [
        ("Paris", " Paris\n", 1),
        ("Paris", "paris", 0),
        ({"contains": ["paris", "FRANCE"]}, "Paris is in France.", 1),
        ({"contains": ["paris", "Spain"]}, "Paris is in France.", 0),
        ({"contains": "paris"}, "Paris", 1),
        ({"regex": r"^\d+$"}, "42", 1),
        ({"regex": r"^\d+$"}, "42!", 0),
        (SCHEMA, '{"n": 1}', 1),
        (SCHEMA, '```json\n{"n": 1}\n```', 1),
        (SCHEMA, '{"m": 1}', 0),
        (SCHEMA, "n is 1", 0),
    ],
)
def test_scores(expect: Any, answer: str, worth: float) -> None:
    assert score(expect, answer) == worth


def asked(format: str, **fields: Any) -> dict[str, Any]:
    return request(fields, Way(FORMATS[format], "m"))


def test_requests_are_in_the_words_of_the_api() -> None:
    user = [{"role": "user", "content": "hi"}]
    assert asked("anthropic", input="hi", system="s") == {
        "model": "m", "messages": user, "system": "s", "max_tokens": 1024,
    }  # fmt: skip
    assert asked("chat", input="hi", system="s")["messages"] == [
        {"role": "system", "content": "s"}, *user,
    ]  # fmt: skip
    assert asked("chat", messages=user, model="other") == {"model": "other", "messages": user}
    assert asked("responses", messages=user) == {"model": "m", "input": user}
    assert asked("responses", input="hi") == {"model": "m", "input": "hi"}


@pytest.mark.parametrize(
    ("format", "body", "words"),
    [
        ("anthropic", {"content": [{"type": "text", "text": "a"}, {"type": "tool_use"}]}, "a"),
        ("chat", {"choices": [{"message": {"content": "a"}}]}, "a"),
        ("chat", {"choices": [{"message": {"content": None}}]}, ""),
        (
            "responses",
            {"output": [{"type": "reasoning"}, {"type": "message", "content": [{"text": "a"}]}]},
            "a",
        ),
        ("chat", {"error": "?"}, ""),
    ],
)
def test_the_words_of_an_answer(format: str, body: Any, words: str) -> None:
    assert text(FORMATS[format], orjson.dumps(body)) == words


def test_how_a_route_is_asked() -> None:
    def route(*model: str, **target: Any) -> Route:
        return Route(name="r", model=model, targets=(Target(name="t", **target),))

    claude, gpt = FORMATS["anthropic"], FORMATS["chat"]
    assert way(route("claude-*", "claude-x"), None, None) == Way(claude, "claude-x")
    assert way(route("gpt-x"), None, None) == Way(gpt, "gpt-x")
    assert way(route("big", provider="anthropic"), None, None) == Way(claude, "big")
    assert way(route("*", model="gpt-y"), None, None) == Way(gpt, "gpt-y")
    assert way(route("gpt-*"), "responses", "gpt-z") == Way(FORMATS["responses"], "gpt-z")
    with pytest.raises(UsageError, match="names no model"):
        way(route("gpt-*"), None, None)
