"""Slots: replacements that come and go among others who replace the same methods."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import wrapt

from perdure.slot import Slot, Slots


class Door:
    def knock(self, by: str) -> str:
        return f"knock by {by}"

    async def ring(self) -> str:
        return "ring"

    @classmethod
    def made(cls, of: str) -> str:
        return f"{cls.__name__} of {of}"

    @staticmethod
    def price(much: int) -> str:
        return f"{much} crowns"


class Oak(Door):
    pass


def louder(original: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(original):

        async def loud_async(*args: Any, **kwargs: Any) -> str:
            return str(await original(*args, **kwargs)).upper()

        return loud_async

    def loud(*args: Any, **kwargs: Any) -> str:
        return str(original(*args, **kwargs)).upper()

    return loud


def wraps_it(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def outer(*args: Any, **kwargs: Any) -> str:
        return f"<{function(*args, **kwargs)}>"

    return outer


def hides_it(function: Callable[..., Any]) -> Callable[..., Any]:
    def outer(*args: Any, **kwargs: Any) -> str:
        return f"<{function(*args, **kwargs)}>"

    return outer


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test leaves in the class is gone after it."""
    for name in ("knock", "ring", "made", "price"):
        monkeypatch.setattr(Door, name, vars(Door)[name])


async def test_what_is_filled_is_at_work_and_what_is_cleared_is_as_it_was() -> None:
    before = dict(vars(Door))
    slots = Slots(*(Slot(Door, name, louder) for name in ("knock", "ring", "made", "price")))
    for _ in range(2):
        slots.fill()
        slots.fill()
        assert slots.filled()
        assert Door().knock("me") == "KNOCK BY ME"
        assert inspect.iscoroutinefunction(Door.ring)
        assert await Door().ring() == "RING"
        assert Oak.made("wood") == "OAK OF WOOD"
        assert Door.price(7) == "7 CROWNS"
        assert inspect.signature(Door.knock) == inspect.signature(before["knock"])
        slots.clear()
        slots.clear()
        assert not slots.filled()
        assert dict(vars(Door)) == before


def test_a_function_of_a_module() -> None:
    module = ModuleType("somewhere")
    module.say = lambda: "word"  # type: ignore[attr-defined]
    slots = Slots(Slot(module, "say", louder))
    slots.fill()
    assert module.say() == "WORD"
    slots.clear()
    assert module.say() == "word"


@pytest.mark.parametrize("wrapper", [wraps_it, hides_it])
def test_somebody_outside_keeps_a_place_and_the_replacement_goes_off_and_on(
    wrapper: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = Slots(Slot(Door, "knock", louder))
    original = Door.knock
    slots.fill()
    inner = Door.knock
    monkeypatch.setattr(Door, "knock", wrapper(inner))
    slots.fill()
    assert Door().knock("me") == "<KNOCK BY ME>"
    slots.clear()
    assert Door().knock("me") == "<knock by me>"
    slots.fill()
    assert Door().knock("me") == "<KNOCK BY ME>"
    monkeypatch.setattr(Door, "knock", inner)  # the other goes
    slots.fill()
    assert Door().knock("me") == "KNOCK BY ME"
    slots.clear()
    assert Door().knock("me") == "knock by me"
    if wrapper is wraps_it:
        assert Door.knock is original


def test_somebody_who_was_there_before_is_there_after() -> None:
    calls: list[Any] = []

    @wrapt.decorator  # OpenTelemetry's instrumentations are made of it
    def traced(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        calls.append((instance, args))
        return wrapped(*args, **kwargs)

    setattr(Door, "knock", traced(vars(Door)["knock"]))  # noqa: B010
    there = vars(Door)["knock"]
    slots = Slots(Slot(Door, "knock", louder))
    door = Door()
    slots.fill()
    assert door.knock("me") == "KNOCK BY ME"
    slots.clear()
    assert vars(Door)["knock"] is there
    assert door.knock("me") == "knock by me"
    assert calls == [(door, ("me",))] * 2


def test_what_somebody_took_out_is_put_in_again() -> None:
    original = Door.knock
    slots = Slots(Slot(Door, "knock", louder))
    slots.fill()
    setattr(Door, "knock", original)  # noqa: B010
    slots.fill()
    assert Door().knock("me") == "KNOCK BY ME"
    slots.clear()
    assert Door.knock is original


def test_one_more_is_filled_with_the_others_and_made_once() -> None:
    made = []

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        made.append(original)
        return louder(original)

    slots = Slots()
    slots.add(Door, "knock", make)
    assert Door().knock("me") == "knock by me"
    slots.fill()
    slots.add(Door, "knock", make)
    slots.add(Door, "price", make)
    assert Door().knock("me") == "KNOCK BY ME"
    assert Door.price(7) == "7 CROWNS"
    assert len(made) == 2
    slots.clear()
    assert Door().knock("me") == "knock by me"
