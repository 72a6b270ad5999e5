"""The closed codec: what round-trips, what is refused, and how failures are written (K8, F2)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, NotRequired
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from typing_extensions import TypedDict

from perdure.codec import decode, decode_failure, encode, encode_failure
from perdure.errors import CodecError, EffectFailed, InvalidInput, NotDone, Parked


class Colour(enum.Enum):
    RED = "red"


class Item(BaseModel):
    name: str
    price: Decimal
    at: datetime | None = None


@dataclass
class Order:
    id: UUID
    items: list[Item]


class Options(TypedDict):
    deep: bool
    limit: NotRequired[int]


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"


AT = datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC)
ID = UUID(int=7)
ITEM = Item(name="a", price=Decimal("1.10"), at=AT)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (ITEM, Item),
        (Order(ID, [ITEM, ITEM]), Order),
        (AT, datetime),
        (timedelta(seconds=90, microseconds=5), timedelta),
        (Decimal("0.100000000000000000001"), Decimal),
        (ID, UUID),
        (Colour.RED, Colour),
        ({"deep": True}, Options),
        ([Cat(), Dog()], list[Cat | Dog]),
        ((1, "a"), tuple[int, str]),
        ({1, 2}, set[int]),
        ({1: "a"}, dict[int, str]),
        (None, Item | None),
        ({"a": ITEM}, dict[str, Item]),
        (b"\x00\xff", bytes),
        ("plain", str),
    ],
)
def test_annotated_values_round_trip(value: Any, annotation: Any) -> None:
    """K8: by annotation."""
    assert decode(encode(value, annotation), annotation) == value


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
)


@given(json_values)
def test_plain_json_values_round_trip(value: Any) -> None:
    """K8."""
    try:
        data = encode(value)
    except CodecError:  # a key with half a pair
        return
    again = decode(data)
    assert again == value
    assert encode(again) == data


@given(st.binary())
def test_bytes_round_trip_and_are_no_json(value: bytes) -> None:
    assert decode(encode(value)) == value
    assert encode(value)[:1] == b"\x00"
    assert decode(encode(bytearray(value))) == value
    assert decode(encode(memoryview(value))) == value


def test_what_has_no_annotation_comes_back_plain_live_as_well_as_replayed() -> None:
    """K8: the conversion is seen at once, not first by a replay."""
    value = {"t": (1, 2), "at": AT, "id": ID, "d": Decimal("1.0"), "m": ITEM}
    assert decode(encode(value)) == {
        "t": [1, 2], "at": "2026-02-03T04:05:06.000007+00:00", "id": str(ID), "d": "1.0",
        "m": {"name": "a", "price": "1.10", "at": "2026-02-03T04:05:06.000007Z"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"a": [1, {"b": float("nan")}]}, r"nan is no JSON number at \.a\[1\]\.b"),
        (float("inf"), "inf is no JSON number"),
        ({"n": 2**64}, r"an integer over 64 bits at \.n"),
        ({"a": {1: 2}}, r"the key 1 at \.a is no string"),
        ({"s": {1}}, "sets have no order"),
        ([object()], r"object is not a JSON value at \[0\]"),
        ({"x": [1, b"raw"]}, r"bytes is not a JSON value at \.x\[1\]"),
        ("\ud800", "surrogates"),
        (lambda: None, "function is not a JSON value"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(value: Any, why: str) -> None:
    with pytest.raises(CodecError, match=why):
        encode(value, what="thing")


def test_what_is_nested_too_deep_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(CodecError, match="nested"):
        encode(deep)


def test_a_null_that_was_meant_is_no_nan() -> None:
    assert (
        encode({"a": None, "b": "null", "c": [None, 1.5]})
        == b'{"a":null,"b":"null","c":[null,1.5]}'
    )


def test_a_value_that_does_not_fit_its_annotation_says_so() -> None:
    with pytest.raises(CodecError, match="does not fit its annotation") as caught:
        decode(b'{"name": 1}', Item, what="result of 'x'")
    assert "result of 'x'" in str(caught.value)
    assert caught.value.hint is not None


def test_an_annotation_without_a_json_form_says_so() -> None:
    class Strange:
        pass

    for annotation in (Strange, "Unresolvable"):
        with pytest.raises(CodecError, match=r"annotation|not fully defined"):
            encode({}, annotation)


def test_a_blob_that_was_not_fetched_is_an_error() -> None:
    with pytest.raises(CodecError, match="blob store"):
        decode(b"\x01abc")


# -- failures -------------------------------------------------------------------------------------


class Own(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code


class Fussy(Exception):
    """Its arguments are not those of its constructor."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(f"because {reason}")


class Nested:
    class Error(ValueError):
        pass


@pytest.mark.parametrize(
    "error",
    [ValueError("a", 1), Own(7, "seven"), KeyError("k"), NotDone("no"), Nested.Error("in"),
     InvalidInput("bad", hint="try"), Fussy(reason="x")],
)  # fmt: skip
def test_failures_come_back_as_what_they_were(error: Exception) -> None:
    """F2: the original class, found among modules already imported."""
    again = decode_failure(encode_failure(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_failures_that_cannot_be_made_again_are_named() -> None:
    """F2: never imported by name, never called with what it does not take."""

    class Hidden(Exception):
        pass

    for error in (Hidden("h"), ValueError(object())):
        again = decode_failure(encode_failure(error))
        assert isinstance(again, EffectFailed)
        assert type(error).__name__ in str(again)
        assert again.detail["type"].endswith(type(error).__qualname__)


@pytest.mark.parametrize(
    "name",
    ["os:system", "builtins:eval", "builtins:SystemExit", "nowhere:Error", "antigravity:Fly",
     "builtins:KeyboardInterrupt", "perdure.errors:Parked", "", "a:b:c", "builtins:"],
)  # fmt: skip
def test_a_name_in_data_leads_nowhere_else(name: str) -> None:
    """F2: an exception class or nothing; and no control flow."""
    import sys

    document = f'{{"type": "{name}", "message": "m", "args": ["m"]}}'.encode()
    assert type(decode_failure(document)) is EffectFailed
    assert "antigravity" not in sys.modules


def test_any_exception_can_be_written() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    for error in (Mute(), ValueError("\ud800"), ValueError(1, object()), Parked("p")):
        assert encode_failure(error)


def test_perdures_own_errors_keep_code_and_hint() -> None:
    import orjson

    document = orjson.loads(encode_failure(InvalidInput("bad", hint="do this")))
    assert (document["code"], document["hint"]) == ("invalid_input", "do this")
