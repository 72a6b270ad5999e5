"""Changes of shared documents, gathered: nothing is lost, nothing decided on old news."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from perdure.core.shared import Document, Swap
from perdure.gateway import desk as desks
from perdure.gateway.desk import Desk, Opening
from tests.unit.gateway.keeper import Keeper


class Sums:
    """Documents that are numbers."""

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self._values: dict[str, int] = {}

    def value(self, key: str) -> int:
        return self._values.get(key, int(self.opening.documents[key].body or b"0"))

    def add(self, key: str, amount: int) -> int:
        self._values[key] = self.value(key) + amount
        return self._values[key]

    def swaps(self) -> Sequence[Swap]:
        return [
            Swap(key, self.opening.documents[key].version, b"%d" % value)
            for key, value in sorted(self._values.items())
        ]


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
def desk(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> Desk[Sums]:
    monkeypatch.setattr(desks, "RETRY_DELAYS", (0.0,))
    return Desk(keeper, Sums)


async def test_those_who_come_together_go_together(keeper: Keeper, desk: Desk[Sums]) -> None:
    await desk.ask(["a"], lambda sums: sums.add("a", 1))
    keeper.calls.clear()
    found = await asyncio.gather(
        *(desk.ask(["a"], lambda sums: sums.add("a", 1)) for _ in range(50))
    )
    assert sorted(found) == list(range(2, 52))
    assert keeper.body("a") == b"51"
    assert len(keeper.calls) == 1


async def test_what_shares_nothing_goes_side_by_side(keeper: Keeper, desk: Desk[Sums]) -> None:
    keeper.hold = asyncio.Event()
    both = [
        asyncio.create_task(desk.ask(["a"], lambda sums: sums.add("a", 1))),
        asyncio.create_task(desk.ask(["b"], lambda sums: sums.add("b", 1))),
    ]
    await keeper.asked(2)
    assert {reads for reads, _ in keeper.calls} == {("a",), ("b",)}
    keeper.hold.set()
    assert await asyncio.gather(*both) == [1, 1]


async def test_who_comes_while_a_swap_is_under_way_goes_with_the_next(
    keeper: Keeper, desk: Desk[Sums]
) -> None:
    await desk.ask(["a"], lambda sums: sums.add("a", 1))
    keeper.hold = asyncio.Event()
    first = asyncio.create_task(desk.ask(["a"], lambda sums: sums.add("a", 1)))
    await keeper.asked(2 + 1)
    later = [asyncio.create_task(desk.ask(["a"], lambda sums: sums.add("a", 1))) for _ in range(9)]
    await asyncio.sleep(0)
    keeper.hold.set()
    assert await first == 2
    assert sorted(await asyncio.gather(*later)) == list(range(3, 12))
    assert len(keeper.calls) == 2 + 2


async def test_another_workers_change_is_seen(keeper: Keeper, desk: Desk[Sums]) -> None:
    await desk.ask(["a"], lambda sums: sums.add("a", 1))
    keeper.meanwhile = lambda: keeper.put("a", b"100")
    assert await desk.ask(["a"], lambda sums: sums.add("a", 1)) == 101
    assert keeper.body("a") == b"101"


async def test_a_refusal_is_believed_only_of_documents_as_they_are(
    keeper: Keeper, desk: Desk[Sums]
) -> None:
    def take(sums: Sums) -> bool:
        if sums.value("a") < 1:
            return False
        sums.add("a", -1)
        return True

    async def ask() -> bool:
        return await desk.ask(["a"], take, firm=lambda taken: taken)

    assert await ask() is False
    keeper.put("a", b"1")  # of which this worker has not heard
    assert await ask() is True
    assert keeper.body("a") == b"0"


async def test_an_outage_delays(keeper: Keeper, desk: Desk[Sums]) -> None:
    keeper.away = 3
    assert await desk.ask(["a"], lambda sums: sums.add("a", 1)) == 1
    keeper.away = 3
    assert await desk.ask(["a"], lambda sums: sums.add("a", 1)) == 2
    assert keeper.body("a") == b"2"


@pytest.mark.parametrize("knows", [True, False])
async def test_a_lost_answer(keeper: Keeper, knows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who can tell from the documents that a swap was made does not make it twice."""
    monkeypatch.setattr(desks, "RETRY_DELAYS", (0.0,))

    def landed(swaps: Sequence[Swap], documents: Mapping[str, Document]) -> bool:
        return all(documents[one.key].body == one.body for one in swaps)

    desk = Desk(keeper, Sums, landed=landed if knows else None)
    await desk.ask(["a"], lambda sums: sums.add("a", 1))
    keeper.lost = 1
    assert await desk.ask(["a"], lambda sums: sums.add("a", 1)) == (2 if knows else 3)
    assert keeper.body("a") == (b"2" if knows else b"3")


async def test_what_somebody_got_who_has_gone_is_undone(keeper: Keeper, desk: Desk[Sums]) -> None:
    undone: list[int] = []
    await desk.ask(["a"], lambda sums: sums.add("a", 1))
    keeper.hold = asyncio.Event()
    asked = asyncio.create_task(desk.ask(["a"], lambda sums: sums.add("a", 1), undo=undone.append))
    await keeper.asked(3)
    asked.cancel()
    keeper.hold.set()
    await asyncio.gather(asked, return_exceptions=True)
    await desk.drained()
    assert undone == [2]


async def test_an_error_is_its_askers_alone(desk: Desk[Sums]) -> None:
    def fail(sums: Sums) -> int:
        raise ValueError("mine")

    good, bad = await asyncio.gather(
        desk.ask(["a"], lambda sums: sums.add("a", 1)),
        desk.ask(["a"], fail),
        return_exceptions=True,
    )
    assert good == 1
    assert isinstance(bad, ValueError)


async def test_the_keepers_clock_is_never_run_ahead_of(keeper: Keeper) -> None:
    ours = [50.0]
    desk = Desk(keeper, Sums, clock=lambda: ours[0])
    assert desk.now() is None
    await desk.ask(["a"], lambda sums: sums.add("a", 1))
    assert desk.now() == keeper.now
    ours[0] += 7.0
    later = desk.now()
    assert later is not None
    assert keeper.now + 6.9 < later <= keeper.now + 7.0  # ours may run fast


async def test_many_workers_lose_nothing(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks, "CROWD_S", 0.0)
    several = [Desk(keeper, Sums) for _ in range(5)]

    async def work(desk: Desk[Sums]) -> None:
        for _ in range(20):
            await desk.ask(["a", "b"], lambda sums: (sums.add("a", 1), sums.add("b", 2)))

    await asyncio.gather(*(work(desk) for desk in several))
    assert (keeper.body("a"), keeper.body("b")) == (b"100", b"200")
