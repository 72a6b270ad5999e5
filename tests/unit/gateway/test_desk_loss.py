"""What a worker keeps in mind of documents that their keeper has lost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from perdure.core.shared import Swap
from perdure.gateway.desk import Desk, Opening
from tests.unit.gateway.forgetful import Forgetful


class Notes:
    """Appends a letter to each document."""

    def __init__(self, opening: Opening, letter: bytes) -> None:
        self.lost: Mapping[str, bytes] = dict(opening.lost)
        self._swaps = [
            Swap(key, document.version, document.body + letter)
            for key, document in opening.documents.items()
        ]

    def swaps(self) -> Sequence[Swap]:
        return self._swaps


def desk(keeper: Forgetful, letter: bytes) -> Desk[Notes]:
    return Desk(keeper, lambda opening: Notes(opening, letter))


def lost(notes: Notes) -> dict[str, bytes]:
    return dict(notes.lost)


async def test_what_was_lost_is_told_until_it_is_made_anew() -> None:
    keeper = Forgetful()
    one = desk(keeper, b"a")
    assert await one.ask(["k"], lost) == {}
    await one.ask(["k"], lost)
    keeper.forget()
    assert await one.ask(["k"], lost) == {"k": b"aa"}
    assert keeper.documents["k"].body == b"a"
    assert await one.ask(["k"], lost) == {}


async def test_what_another_made_anew_in_its_place_is_found_out() -> None:
    keeper = Forgetful()
    one, two = desk(keeper, b"a"), desk(keeper, b"b")
    await one.ask(["k"], lost)
    keeper.forget()
    assert await two.ask(["k"], lost) == {}
    assert await one.ask(["k"], lost) == {"k": b"a"}
    assert keeper.documents["k"].body == b"ba"
    assert await one.ask(["k"], lost) == {}


async def test_changes_of_others_are_no_loss() -> None:
    keeper = Forgetful()
    keeper.fresh = True
    one, two = desk(keeper, b"a"), desk(keeper, b"b")
    await one.ask(["k"], lost)
    await asyncio.gather(*(two.ask(["k"], lost) for _ in range(5)))
    await two.ask(["k"], lost)
    assert await one.ask(["k"], lost) == {}
