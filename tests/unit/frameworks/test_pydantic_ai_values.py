"""Outcomes of tools: live and replayed are the same thing (K8)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from pydantic import BaseModel
from pydantic_ai import BinaryContent, DocumentUrl, ImageUrl, ModelRetry, ToolReturn
from pydantic_ai._enqueue import PendingMessage
from pydantic_ai.messages import ModelRequest, UserPromptPart, tool_return_ta
from pydantic_ai.usage import RunUsage

from perdure.errors import CodecError
from perdure.frameworks.pydantic_ai.values import TAG, Outcome, ToolFailed, ToolValues

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
PNG = BinaryContent(b"\x89PNG\x00", media_type="image/png")


class City(BaseModel):
    name: str
    founded: datetime


@dataclass
class Point:
    x: int
    at: datetime


def seen(value: Any) -> Any:
    """As the model is shown it: an image is one, however its class is called."""
    return tool_return_ta.dump_python(value, mode="json")


def there_and_back(outcome: Outcome, annotation: Any = None) -> Outcome:
    values = ToolValues("t", annotation)
    data = values.encode(outcome)
    orjson.loads(data)
    again = values.decode(data)
    assert values.encode(again) == data  # as often as it is done
    return again


@pytest.mark.parametrize(
    "value", [None, "text", 3, 2.5, True, [], {"a": [1, None]}, {}, {"kind": "image-url"}]
)
def test_json_is_recorded_as_it_is(value: Any) -> None:
    assert orjson.loads(ToolValues("t").encode(Outcome(value))) == value
    assert there_and_back(Outcome(value)) == Outcome(value)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (City(name="Rome", founded=NOON), City),
        ([City(name="Rome", founded=NOON)], list[City]),
        (Point(1, NOON), Point),
        (NOON, datetime),
        (Decimal("1.10"), Decimal),
        ({"at": NOON}, dict[str, datetime]),
        ((1, "x"), tuple[int, str]),
    ],
)
def test_by_annotation(value: Any, annotation: Any) -> None:
    assert there_and_back(Outcome(value), annotation).value == value


@pytest.mark.parametrize(
    "value",
    [PNG, ImageUrl(url="https://example.com/a.png"), [PNG, "and text"], {"photo": PNG}],
)
def test_files(value: Any) -> None:
    assert seen(there_and_back(Outcome(value)).value) == seen(value)


def test_what_has_no_annotation_is_what_the_model_sees() -> None:
    assert there_and_back(Outcome({"at": NOON, "p": (1, 2)})).value == {
        "at": "2026-05-01T12:00:00Z",
        "p": [1, 2],
    }


@pytest.mark.parametrize("annotation", [None, ToolReturn, ToolReturn[str]])
def test_a_tool_return(annotation: Any) -> None:
    value = ToolReturn(
        "ok", content=["look:", PNG, DocumentUrl(url="https://e.com/a.pdf")], metadata={"n": 1}
    )
    again = there_and_back(Outcome(value), annotation).value
    assert isinstance(again, ToolReturn)
    assert (again.return_value, again.metadata) == ("ok", {"n": 1})
    assert seen(again.content) == seen(value.content)


@pytest.mark.parametrize("error", [ModelRetry("Which Bob?"), ToolFailed("There is none.")])
def test_what_a_tool_answers_the_model_instead(error: Any) -> None:
    again = there_and_back(Outcome(error=error))
    assert type(again.error) is type(error)
    assert str(again.error) == str(error)
    assert again.value is None


def test_what_a_body_did_to_its_run() -> None:
    usage = RunUsage(requests=2, input_tokens=10, details={"cached": 3})
    message = PendingMessage([ModelRequest([UserPromptPart("Hurry.")])])
    again = there_and_back(Outcome("ok", usage=usage, enqueued=(message,)))
    assert again.value == "ok"
    assert again.usage == usage
    (enqueued,) = again.enqueued
    assert enqueued == message
    assert enqueued.messages[0].parts[0].content == "Hurry."  # type: ignore[union-attr]


def test_what_an_operator_says_is_the_result() -> None:
    assert ToolValues("t", City).decode(b'"it happened"') == Outcome("it happened")


@pytest.mark.parametrize("value", [object(), {"x": object()}, 2**70, {TAG: "typed"}])
def test_what_cannot_be_written_down(value: Any) -> None:
    values = ToolValues("t")
    if isinstance(value, dict) and TAG in value:  # looks like our own, and comes back as it was
        assert there_and_back(Outcome(value)).value == value
        return
    with pytest.raises(CodecError, match="'t' cannot be written down"):
        values.encode(Outcome(value))


def test_an_unknown_kind() -> None:
    with pytest.raises(CodecError, match="unknown kind 'pickle'"):
        ToolValues("t").decode(b'{"$pai": "pickle", "v": 1}')
