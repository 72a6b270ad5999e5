"""The group commit: order, outages, fences, and rows that cannot be written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from perdure.core.charge import Charge
from perdure.core.record import EntryState, Record, RecordType
from perdure.core.run import RunState
from perdure.errors import LeaseLost, StoreUnavailable
from perdure.runtime import recorder as recorder_module
from perdure.runtime.recorder import Recorder
from perdure.store.costs import CostFilter
from perdure.store.rows import Lease, LogRow, Message, Refusal, Settlement
from tests.unit.runtime.harness import House, turns


class Writer:
    """An attempt, as the recorder sees it."""

    def __init__(self, lease: Lease) -> None:
        self.run_id = lease.run_id
        self.epoch = lease.epoch
        self.next_seq = lease.next_seq
        self.told: list[str] = []

    def lost(self) -> None:
        self.told.append("lost")

    def broken(self, error: Exception) -> None:
        self.told.append(f"broken: {error}")


def row(name: str, value: bytes = b"1") -> Record:
    key = name.encode().ljust(12, b".")[:12]
    return Record(
        RecordType.ENTRY, key, b"", "", b"", "step", name, b"d" * 16, 0, "reads", EntryState.DONE,
        0, value,
    )  # fmt: skip


async def writers(house: House, count: int) -> list[Writer]:
    async def agent() -> None: ...

    house.serve(agent)
    found = []
    for n in range(count):
        await house.submit("agent")
        claimed = await house.store.claim(f"worker {n}", ["agent"], 1, idle=True)
        found += [Writer(lease) for lease in claimed.leases]
    return found


async def names(house: House, writer: Writer) -> list[str]:
    return [e.name or "" for e in await house.log(writer.run_id, "entry")]


async def test_rows_of_a_run_are_written_in_order_and_settled_last(house: House) -> None:
    one, two = await writers(house, 2)
    recorder = Recorder(house.store)
    futures = []
    for n in range(50):
        futures.append(recorder.append(one, row(f"one {n}")))
        recorder.append_quietly(two, row(f"two {n}"))
    settled = asyncio.ensure_future(
        recorder.settle(Settlement(two.run_id, two.epoch, RunState.SUCCEEDED, result=b"1"))
    )
    await asyncio.gather(*futures)
    assert (await settled).state is RunState.SUCCEEDED
    assert await names(house, one) == [f"one {n}" for n in range(50)]
    assert await names(house, two) == [f"two {n}" for n in range(50)]
    await recorder.drained()


async def test_agents_work_while_the_other_half_is_in_flight(house: House) -> None:
    """Many rows go out in halves; from there on each statement carries what those added whose
    rows were in the one before, and no statement waits for them."""
    sizes: list[int] = []
    idle: list[int] = []
    record = house.store.record

    async def counted(
        rows: Sequence[LogRow],
        charges: Sequence[Charge] = (),
        messages: Sequence[Message] = (),
    ) -> list[Refusal]:
        sizes.append(len(rows))
        refusals = await record(rows)
        # What was added meanwhile is what the next statement carries, at once.
        idle.append(0 if recorder._rows else 1)
        return refusals

    house.store.record = counted  # type: ignore[method-assign]
    recorder = Recorder(house.store)
    writing = await writers(house, 10)

    async def write(writer: Writer, first: int) -> None:
        for n in range(20):
            await asyncio.gather(
                *[recorder.append(writer, row(f"{first + n} {i}")) for i in range(10)]
            )

    await asyncio.gather(*[write(writer, 100 * i) for i, writer in enumerate(writing)])
    assert sum(sizes) == 2000
    assert sizes[0] == 50
    # The very last ones have nothing behind them.
    assert sum(idle) <= 3, (sizes, idle)
    for i, writer in enumerate(writing):
        assert len(await names(house, writer)) == 200, i
    await recorder.drained()


async def test_few_statements_carry_many_rows(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is pending goes out as one statement; too much of it as several."""
    sizes: list[int] = []
    record = house.store.record

    async def counted(
        rows: Sequence[LogRow],
        charges: Sequence[Charge] = (),
        messages: Sequence[Message] = (),
    ) -> list[Refusal]:
        sizes.append(len(rows))
        return await record(rows)

    house.store.record = counted  # type: ignore[method-assign]
    (one,) = await writers(house, 1)
    recorder = Recorder(house.store)
    await asyncio.gather(*(recorder.append(one, row(str(n))) for n in range(30)))
    assert sizes == [30]
    monkeypatch.setattr(recorder_module, "MAX_ROWS", 10)
    await asyncio.gather(*(recorder.append(one, row(str(n))) for n in range(25)))
    assert sizes == [30, 10, 10, 5]
    monkeypatch.setattr(recorder_module, "MAX_BYTES", 100)
    big = [recorder.append(one, row(str(n), b"x" * 60)) for n in range(3)]
    await asyncio.gather(*big)
    assert sizes[-3:] == [1, 1, 1]


async def test_a_row_waits_until_it_is_durable(house: House) -> None:
    """The invariant of every effect."""
    written, go_on = asyncio.Event(), asyncio.Event()
    record = house.store.record

    async def slow(
        rows: Sequence[LogRow],
        charges: Sequence[Charge] = (),
        messages: Sequence[Message] = (),
    ) -> list[Refusal]:
        refused = await record(rows)
        written.set()
        await go_on.wait()
        return refused

    house.store.record = slow  # type: ignore[method-assign]
    (one,) = await writers(house, 1)
    recorder = Recorder(house.store)
    future = recorder.append(one, row("one"))
    await written.wait()
    await turns()
    assert not future.done()
    go_on.set()
    await future


async def test_a_number_that_was_taken_is_numbered_again(house: House) -> None:
    """E1: a signal or cancel appends to the log of a running run too."""
    (one,) = await writers(house, 1)
    recorder = Recorder(house.store)
    await recorder.append(one, row("before"))
    await house.store.signal(one.run_id, "s", b"1")
    await asyncio.gather(*(recorder.append(one, row(f"after {n}")) for n in range(3)))
    await house.store.cancel(one.run_id)
    await recorder.append(one, row("last"))
    types = [e.type for e in await house.log(one.run_id)]
    assert types == ["entry", "signal", "entry", "entry", "entry", "status", "entry"]
    assert await names(house, one) == ["before", "after 0", "after 1", "after 2", "last"]


async def test_an_old_epoch_writes_nothing_and_harms_nobody(house: House) -> None:
    """L2: the rest of the batch is written."""
    one, two = await writers(house, 2)
    await house.steal(one.run_id)
    recorder = Recorder(house.store)
    lost, fine = recorder.append(one, row("zombie")), recorder.append(two, row("fine"))
    await fine
    with pytest.raises(LeaseLost):
        await lost
    assert one.told == ["lost"]
    assert two.told == []
    assert await names(house, one) == []
    settled = await recorder.settle(Settlement(one.run_id, one.epoch, RunState.SUCCEEDED))
    assert settled.state is None


async def test_an_outage_delays_and_loses_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is sent again; a repeated row counts as written."""
    monkeypatch.setattr(recorder_module, "RETRY_DELAYS", (0.0,))
    trouble: list[bool] = []
    calls = 0
    record = house.store.record

    async def failing(
        rows: Sequence[LogRow],
        charges: Sequence[Charge] = (),
        messages: Sequence[Message] = (),
    ) -> list[Refusal]:
        nonlocal calls
        calls += 1
        if calls == 2:
            await record(rows)  # it was carried out, but the answer was lost
        if calls < 4:
            raise StoreUnavailable("gone")
        return await record(rows)

    house.store.record = failing  # type: ignore[method-assign]
    (one,) = await writers(house, 1)
    recorder = Recorder(house.store, trouble.append)
    await asyncio.gather(*(recorder.append(one, row(str(n))) for n in range(3)))
    assert await names(house, one) == ["0", "1", "2"]
    assert trouble == [True, False]


async def test_a_run_whose_rows_cannot_be_written_fails_alone(house: House) -> None:
    """Else one name that the database refuses would stop every run of the worker."""
    record = house.store.record

    async def picky(
        rows: Sequence[LogRow],
        charges: Sequence[Charge] = (),
        messages: Sequence[Message] = (),
    ) -> list[Refusal]:
        if any("\0" in (r.record.name or "") for r in rows):
            raise ValueError("invalid byte sequence")
        return await record(rows)

    house.store.record = picky  # type: ignore[method-assign]
    one, two, three = await writers(house, 3)
    recorder = Recorder(house.store)
    good = [recorder.append(one, row("good")), recorder.append(three, row("too"))]
    bad = recorder.append(two, row("bad\0name"))
    await asyncio.gather(*good)
    with pytest.raises(ValueError, match="invalid byte"):
        await bad
    assert two.told == ["broken: invalid byte sequence"]
    await recorder.append(two, row("later"))
    assert [await names(house, w) for w in (one, two, three)] == [["good"], ["later"], ["too"]]


async def test_a_settlement_that_cannot_be_written_fails_alone(house: House) -> None:
    settle = house.store.settle

    async def picky(settlements: Sequence[Settlement]) -> Any:
        if any(s.result == b"bad" for s in settlements):
            raise ValueError("no")
        return await settle(settlements)

    house.store.settle = picky  # type: ignore[method-assign]
    one, two = await writers(house, 2)
    recorder = Recorder(house.store)
    results = await asyncio.gather(
        recorder.settle(Settlement(one.run_id, one.epoch, RunState.SUCCEEDED, result=b"bad")),
        recorder.settle(Settlement(two.run_id, two.epoch, RunState.SUCCEEDED, result=b"1")),
        return_exceptions=True,
    )
    assert isinstance(results[0], ValueError)
    assert (await house.store.get(two.run_id)).state is RunState.SUCCEEDED


async def test_a_busy_worker_settles_too(house: House) -> None:
    """Rows of other runs that keep coming do not put a settlement off."""
    one, two = await writers(house, 2)
    recorder = Recorder(house.store)
    record = house.store.record
    busy = 0

    async def keeps_coming(
        rows: Sequence[LogRow],
        charges: Sequence[Charge] = (),
        messages: Sequence[Message] = (),
    ) -> list[Refusal]:
        nonlocal busy
        busy += 1
        if busy < 200:
            recorder.append_quietly(two, row(str(busy)))
        return await record(rows)

    house.store.record = keeps_coming  # type: ignore[method-assign]
    recorder.append_quietly(two, row("first"))
    await recorder.settle(Settlement(one.run_id, one.epoch, RunState.SUCCEEDED, result=b"1"))
    assert busy < 10
    await recorder.drained()
    assert busy == 200


# -- the ledger -----------------------------------------------------------------------------------


def charge(name: str, **fields: Any) -> Charge:
    return Charge(
        name.encode().ljust(16, b"."), **{"agent": name, "provider": "p", "model": "m"} | fields
    )


async def charged(house: House) -> set[str]:
    """The agents that the ledger knows."""
    return {row.group["agent"] for row in await house.store.costs(CostFilter(by=("agent",)))}


class Watched:
    """What goes over the store's seam, in order."""

    def __init__(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[list[str | None], list[str]]] = []
        self.messages: list[list[bytes]] = []
        self._store = house.store
        self._record = house.store.record
        self._charge = house.store.charge
        monkeypatch.setattr(house.store, "record", self.record)
        monkeypatch.setattr(house.store, "charge", self.charge)

    async def record(
        self,
        rows: Sequence[LogRow],
        charges: Sequence[Charge] = (),
        messages: Sequence[Message] = (),
    ) -> list[Refusal]:
        self.seen.append(([row.record.name for row in rows], [c.agent for c in charges]))
        self.messages.append([message.body for message in messages])
        return await self._record(rows, charges, messages)

    async def charge(self, charges: Sequence[Charge]) -> None:
        self.seen.append(([], [c.agent for c in charges]))
        await self._charge(charges)


async def test_a_charge_goes_out_with_the_row_after_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = await writers(house, 2)
    watched = Watched(house, monkeypatch)
    recorder = Recorder(house.store)
    recorder.charge(charge("a"))
    first = recorder.append(one, row("a"))
    await first
    for n in range(200):  # halves of many go out on their own
        recorder.charge(charge(f"{n}"))
        recorder.append_quietly(two, row(f"{n}"))
    await recorder.drained()
    assert watched.seen[0] == (["a"], ["a"])
    assert len(watched.seen) > 2
    for rows, charges in watched.seen:
        assert rows == charges
    assert await charged(house) == {"a", *map(str, range(200))}


async def test_a_charge_goes_out_alone_and_before_the_end_of_its_run(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = await writers(house, 1)
    watched = Watched(house, monkeypatch)
    recorder = Recorder(house.store)
    recorder.charge(charge("a"))
    await recorder.drained()
    assert watched.seen == [([], ["a"])]
    row_ = recorder.append(one, row("r"))
    recorder.charge(charge("b"))
    await recorder.settle(Settlement(one.run_id, one.epoch, RunState.SUCCEEDED, result=b"1"))
    assert watched.seen[1:] == [(["r"], []), ([], ["b"])]
    await row_
    assert await charged(house) == {"a", "b"}


async def test_charges_of_a_lost_lease_are_written(house: House) -> None:
    (one,) = await writers(house, 1)
    recorder = Recorder(house.store)
    await house.store.release("worker 0")
    recorder.charge(charge("a"))
    with pytest.raises(LeaseLost):
        await recorder.append(one, row("r"))
    assert await charged(house) == {"a"}


async def test_what_the_ledger_cannot_take_keeps_nobody_up(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    (one,) = await writers(house, 1)
    recorder = Recorder(house.store)
    recorder.charge(charge("good"))
    recorder.charge(charge("bad", input=2**70))
    await recorder.append(one, row("r"))
    await recorder.drained()
    assert await names(house, one) == ["r"]
    assert await charged(house) == {"good"}
    assert "cannot be written to the ledger" in caplog.text
    assert one.told == []


async def test_a_row_that_cannot_be_written_leaves_its_charge(house: House) -> None:
    one, two = await writers(house, 2)
    recorder = Recorder(house.store)
    recorder.charge(charge("a"))
    broken = recorder.append(one, row("r")._replace(took_ms=2**70))
    recorder.charge(charge("b"))
    fine = recorder.append(two, row("s"))
    with pytest.raises(OverflowError):
        await broken
    await fine
    assert await charged(house) == {"a", "b"}


async def test_a_store_that_is_away_keeps_charges_waiting(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "RETRY_DELAYS", (0.0,))
    tries: list[int] = []
    real = house.store.charge

    async def away(charges: Sequence[Charge]) -> None:
        tries.append(len(charges))
        if len(tries) < 3:
            raise StoreUnavailable("away")
        await real(charges)

    monkeypatch.setattr(house.store, "charge", away)
    recorder = Recorder(house.store)
    recorder.charge(charge("a"))
    await recorder.drained()
    assert tries == [1, 1, 1]
    assert await charged(house) == {"a"}


async def test_requests_of_many_runs_go_out_with_their_rows(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = await writers(house, 20)
    watched = Watched(house, monkeypatch)
    recorder = Recorder(house.store)
    rows = []
    for n, writer in enumerate(writing):
        recorder.messages(writer.run_id, [(b"node", b"", f"{n}".encode())])
        rows.append(recorder.append(writer, row(f"{n}")))
    await asyncio.gather(*rows)
    assert watched.messages == [[f"{n}".encode() for n in range(20)]]
    for n, writer in enumerate(writing):
        assert await house.store.get_messages(writer.run_id, b"node") == [f"{n}".encode()]


async def test_a_request_whose_effect_never_ended_is_forgotten(house: House) -> None:
    (one,) = await writers(house, 1)
    recorder = Recorder(house.store)
    recorder.messages(one.run_id, [(b"node", b"", b"body")])
    await recorder.settle(Settlement(one.run_id, one.epoch, RunState.SUCCEEDED, result=b"1"))
    assert not recorder._messages
