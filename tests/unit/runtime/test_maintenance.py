"""Timers are looked at when one may be due, and seldom otherwise."""

from __future__ import annotations

from datetime import timedelta

from perdure.runtime import maintenance
from perdure.runtime.maintenance import Maintenance
from perdure.store.rows import NewRun, Woken
from tests.unit.runtime.harness import House


def counted(house: House) -> list[Woken]:
    """Every look at timers from now on, and what it found."""
    looks: list[Woken] = []
    wake_due = house.store.wake_due

    async def noted(limit: int = 1000) -> Woken:
        looks.append(await wake_due(limit))
        return looks[-1]

    house.store.wake_due = noted  # type: ignore[method-assign]
    return looks


async def test_an_idle_leader_seldom_looks_at_timers(house: House) -> None:
    looks = counted(house)
    leader = Maintenance(house.store, "leader")
    for _ in range(3 * maintenance.LOOK_EVERY):
        assert await leader.round(told=False) == maintenance.RENEW
    assert len(looks) == 3, "one at first, then only in case a hint was lost"


async def test_whoever_is_told_of_a_timer_looks_at_once(house: House) -> None:
    looks = counted(house)
    leader = Maintenance(house.store, "leader")
    await leader.round(told=False)
    await house.store.enqueue([_delayed(2.0)])
    pause = await leader.round(told=True)
    assert len(looks) == 2
    assert timedelta(seconds=1) < pause < timedelta(seconds=2)
    assert await leader.round(told=False) <= pause, "it is still slept for, not looked for"
    assert len(looks) == 2


async def test_what_is_due_is_looked_for_without_being_told(house: House) -> None:
    looks = counted(house)
    await house.store.enqueue([_delayed(0.001)])
    leader = Maintenance(house.store, "leader")
    for _ in range(100):
        pause = await leader.round(told=False)
        if looks[-1].count:
            break
        assert pause < timedelta(seconds=0.1)
    assert looks[-1].count == 1


async def test_a_new_leader_looks_at_once(house: House) -> None:
    assert await house.store.lead("other", timedelta(seconds=9))
    looks = counted(house)
    leader = Maintenance(house.store, "leader")
    for _ in range(2):
        assert await leader.round(told=False) == maintenance.RENEW
    assert not looks
    house.store.shift_clock(timedelta(seconds=10))
    await leader.round(told=False)
    assert len(looks) == 1


def _delayed(seconds: float) -> NewRun:
    return NewRun(
        "5e1f0f6e-93c9-4a7f-9d0a-0c5c1d1f0a01", "agent", b"null", queue="agent",
        delay=timedelta(seconds=seconds),
    )  # fmt: skip
