"""Tool results: live and replayed are the same thing, and nothing comes out of data but what the
registry knows (K8)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import pytest
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langgraph.types import Command, Overwrite, Send
from pydantic import BaseModel

from perdure.errors import CodecError
from perdure.frameworks.langgraph.values import TAG, ToolValues, from_json

NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
MESSAGE = ToolMessage(
    [{"type": "text", "text": "done"}], tool_call_id="call_1", name="t", status="error",
    artifact=[Document("page", metadata={"n": 1}, id="d")],
)  # fmt: skip
CALL = AIMessage(
    "hm", tool_calls=[{"name": "t", "args": {"x": [1]}, "id": "c", "type": "tool_call"}],
    usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
)  # fmt: skip
VALUES: list[Any] = [
    None, "text", 3, 2.5, True, [], {"a": [1, None]}, {}, 2**70, (1, "x"), b"\x00\xff", NOW,
    date(2026, 1, 2), time(1, 2), timedelta(seconds=90), Decimal("1.10"), UUID(int=7),
    {1, 2}, frozenset({"a"}), {1: "one", (2, 3): "pair"}, {TAG: "message", "v": 1},
    MESSAGE, CALL, HumanMessage("hi", id="h"), SystemMessage("s"), RemoveMessage(id="r"),
    Document("text", metadata={"at": NOW}), Send("node", {"x": MESSAGE}), Overwrite([1]),
    Command(update={"messages": [MESSAGE]}, goto="next"),
    Command(graph=Command.PARENT, goto=[Send("n", 1)], resume={"k": 1}),
    Command(update=[("messages", [CALL])]),
    ("content", [Document("d")]), [MESSAGE, Command(update={"n": 1})],
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__)
def test_a_result_comes_back_as_it_was(value: Any) -> None:
    values = ToolValues("t")
    back = values.decode(values.encode(value))
    assert back == value
    assert type(back) is type(value)


def test_not_a_number_comes_back() -> None:
    values = ToolValues("t")
    back = values.decode(values.encode([float("nan"), float("-inf")]))
    assert repr(back) == "[nan, -inf]"


def test_plain_results_are_plain_json() -> None:
    assert ToolValues("t").encode({"found": ["a", 1]}) == b'{"found":["a",1]}'


def test_a_message_of_an_unknown_class_is_its_nearest_known_one() -> None:
    class Mine(AIMessage):
        pass

    values = ToolValues("t")
    back = values.decode(values.encode(Mine(content="x", id="1")))
    assert (type(back), back.content, back.id) == (AIMessage, "x", "1")

    class Strange(BaseMessage):
        type: str = "strange"

    with pytest.raises(CodecError, match="Strange"):
        values.encode(Strange(content="x"))


def test_what_an_operator_says_a_tool_returned_is_what_langchain_expects() -> None:
    assert ToolValues("t", pair=True).decode(b'["text", {"n": 1}]') == ("text", {"n": 1})
    assert ToolValues("t").decode(b'["text", 1]') == ["text", 1]


class Report(BaseModel):
    title: str
    at: datetime


@dataclass
class Point:
    x: int


def test_models_and_dataclasses_go_by_annotation() -> None:
    for value, annotation in (
        (Report(title="t", at=NOW), Report),
        (Point(1), Point),
        ([Point(1)], list[Point]),
    ):
        values = ToolValues("t", annotation)
        assert values.decode(values.encode(value)) == value


def test_what_langchain_would_make_text_of_is_text() -> None:
    report = Report(title="t", at=NOW)
    called = ToolValues("t", called=True)
    assert called.decode(called.encode(report)) == str(report)
    pair = ToolValues("t", called=True, pair=True)
    assert pair.decode(pair.encode((report, [1]))) == (str(report), [1])


def test_what_nobody_can_write_down_is_an_error_that_names_the_tool() -> None:
    with pytest.raises(CodecError, match=r"'t'.*Report") as caught:
        ToolValues("t").encode({"deep": [Report(title="t", at=NOW)]})
    assert "annotate" in (caught.value.hint or "")
    with pytest.raises(CodecError):
        ToolValues("t", called=True, pair=True).encode(("text", object()))


@pytest.mark.parametrize(
    "data",
    [
        {TAG: "pickle", "v": "gASV"},
        {TAG: "message", "v": {"cls": "os.system", "fields": {}}},
        {TAG: "message", "v": {"cls": "BaseMessage", "fields": {}}},
    ],
)
def test_nothing_outside_the_registry_is_made_from_data(data: dict[str, Any]) -> None:
    with pytest.raises(CodecError, match="unknown"):
        from_json(orjson.loads(orjson.dumps(data)))
