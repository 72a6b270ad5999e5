"""The log: fenced by epochs (L2), numbered without gaps (E1), values read lazily (Z1)."""

from __future__ import annotations

import asyncio

from perdure.core.record import EntryState, Record, RecordType
from perdure.core.run import RunState
from perdure.store import Store
from perdure.store.base import INLINE_VALUE
from perdure.store.rows import Lease, LogRow, Refusal
from tests.contract.driver import add, claim_one, entry, new, row, seqs, settle, started

GONE = "00000000-0000-0000-0000-000000000000"


async def test_what_was_recorded_is_read_back(store: Store) -> None:
    lease = await started(store)
    full = entry(b"a", request=b"tip")
    bare = Record(RecordType.DELTA, value=b'"text"')
    before = await store.now()
    assert await store.record([row(lease, 1, full), row(lease, 2, bare)]) == []

    first, second = await store.events(lease.run_id)
    assert before <= first.at <= await store.now()
    assert (first.seq, first.epoch, *first[3:]) == (1, 1, *full)
    assert (second.seq, second.epoch, *second[3:]) == (2, 1, *bare)

    (found,) = await store.journal(lease.run_id)
    assert (found.seq, found.epoch, found.size) == (1, 1, 1)
    assert found[2:14] == full[1:13]
    assert await store.last_seq(lease.run_id) == 2


async def test_a_journal_is_folded(store: Store) -> None:
    lease = await started(store)
    rows = [
        entry(b"a", EntryState.INTENT, b"i"),
        entry(b"b", EntryState.INTENT),
        entry(b"a", EntryState.DONE, b"d"),
        entry(b"c"),
        entry(b"b", EntryState.VOID),
    ]
    await store.record([row(lease, i, each) for i, each in enumerate(rows, 1)])
    assert [(e.key, e.state, e.value, e.seq) for e in await store.journal(lease.run_id)] == [
        (b"a", "done", b"d", 3),
        (b"c", "done", b"1", 4),
    ]


async def test_large_values_are_left_out_of_the_journal(store: Store) -> None:
    lease = await started(store)
    small, large = b"x" * INLINE_VALUE, b"x" * (INLINE_VALUE + 1)
    await store.record([row(lease, 1, value=small), row(lease, 2, value=large)])
    await store.record([row(lease, 3, Record(RecordType.ENTRY, key=b"none", state="done"))])
    entries = await store.journal(lease.run_id)
    assert [(e.value, e.size) for e in entries] == [
        (small, len(small)),
        (None, len(large)),
        (None, 0),
    ]
    assert await store.values(lease.run_id, [2, 3, 99]) == {2: large}
    assert await store.values(lease.run_id, []) == {}


async def test_events_are_read_in_pages(store: Store) -> None:
    lease = await started(store)
    await store.record([row(lease, i) for i in range(1, 8)])
    assert [e.seq for e in await store.events(lease.run_id, after=2, limit=3)] == [3, 4, 5]
    assert [e.seq for e in await store.events(lease.run_id, after=6)] == [7]
    assert await store.events(lease.run_id, after=7) == []


async def test_a_run_that_is_not_there_has_no_log(store: Store) -> None:
    assert await store.events(GONE) == []
    assert await store.journal(GONE) == []
    assert await store.values(GONE, [1]) == {}
    assert await store.last_seq(GONE) == 0
    assert await store.signals(GONE) == []
    await store.watch(GONE)


async def test_a_refused_row_does_not_harm_the_others(store: Store) -> None:
    good, settled, stale = [await started(store) for _ in range(3)]
    await settle(store, settled)
    await store.release("nobody")
    queued = Lease(**{f: getattr(good, f) for f in good.__slots__} | {"run_id": await add(store)})
    refused = await store.record(
        [
            row(settled, 1),
            row(good, 1),
            row(stale, 1, epoch=0),
            row(stale, 1),
            row(queued, 1),
            LogRow(GONE, 1, 1, entry()),
            row(good, 2),
        ]
    )
    assert sorted(refused) == sorted(
        [
            Refusal(settled.run_id, 1, True, 0),
            Refusal(stale.run_id, 1, True, 0),
            Refusal(queued.run_id, 1, True, 0),
            Refusal(GONE, 1, True, 0),
        ]
    )
    assert await seqs(store, good.run_id) == [1, 2]
    assert await seqs(store, stale.run_id) == [1]
    assert await seqs(store, settled.run_id) == []


async def test_an_old_epoch_writes_nothing(store: Store) -> None:
    old = await started(store, "w1")
    await store.record([row(old, 1)])
    await store.release("w1")
    new_one = await claim_one(store, "w2")
    assert new_one.epoch == 2
    before = await store.events(old.run_id)
    assert await store.record([row(old, new_one.next_seq)]) == [
        Refusal(old.run_id, new_one.next_seq, True, 0)
    ]
    assert await settle(store, old) is None
    assert await store.events(old.run_id) == before
    assert (await store.get(old.run_id)).state is RunState.RUNNING
    assert await store.record([row(new_one, new_one.next_seq)]) == []


async def test_a_number_taken_from_outside_is_refused_with_all_that_follow(store: Store) -> None:
    lease, bystander = await started(store), await started(store)
    await store.record([row(lease, 1)])
    await store.cancel(lease.run_id, "why")  # takes 2
    intent = entry(b"k", EntryState.INTENT)
    done = entry(b"k", EntryState.DONE)
    refused = await store.record([row(lease, 2, intent), row(bystander, 1), row(lease, 3, done)])
    assert refused == [Refusal(lease.run_id, 2, False, 3), Refusal(lease.run_id, 3, False, 3)]
    assert await seqs(store, bystander.run_id) == [1]
    assert await store.record([row(lease, 3, intent), row(lease, 4, done)]) == []
    assert await seqs(store, lease.run_id) == [1, 2, 3, 4]
    assert (await store.journal(lease.run_id))[-1].state == "done"


async def test_a_row_that_would_leave_a_gap_is_refused(store: Store) -> None:
    lease = await started(store)
    assert await store.record([row(lease, 2)]) == [Refusal(lease.run_id, 2, False, 1)]
    assert await store.record([row(lease, 1), row(lease, 3)]) == [
        Refusal(lease.run_id, 3, False, 2)
    ]
    assert await seqs(store, lease.run_id) == [1]


async def test_a_repeated_call_counts_as_written(store: Store) -> None:
    lease = await started(store)
    rows = [row(lease, 1), row(lease, 2, entry(b"x", value=b"2"))]
    assert await store.record(rows) == []
    assert await store.record(rows) == []
    assert await store.record([*rows, row(lease, 3)]) == []
    assert await store.record([row(lease, 2, entry(b"x", value=b"other")), row(lease, 4)]) == [
        Refusal(lease.run_id, 2, False, 4),
        Refusal(lease.run_id, 4, False, 4),
    ]
    assert await seqs(store, lease.run_id) == [1, 2, 3]


async def test_rows_of_many_runs_in_one_call(store: Store) -> None:
    answers = await store.enqueue([new(lease_to="w") for _ in range(300)])
    leases = [answer.lease for answer in answers if answer.lease is not None]
    assert await store.record([row(lease, seq) for lease in leases for seq in (1, 2)]) == []
    assert await seqs(store, leases[0].run_id) == [1, 2]
    assert await seqs(store, leases[299].run_id) == [1, 2]
    assert await store.record([]) == []


async def record_all(store: Store, lease: Lease, keys: list[bytes]) -> None:
    """Record one row after the other as a worker does: numbering again where it was refused."""
    seq = lease.next_seq
    for key in keys:
        while refused := await store.record([row(lease, seq, entry(key))]):
            assert not refused[0].lost
            seq = refused[0].next_seq
        seq += 1


async def test_writers_from_outside_leave_no_gaps(store: Store, other: Store) -> None:
    lease = await started(store)
    keys = [str(i).encode() for i in range(40)]
    await asyncio.gather(
        record_all(store, lease, keys),
        *(other.signal(lease.run_id, "tick", b"1") for _ in range(20)),
        *(store.signal(lease.run_id, "tock", b"1") for _ in range(20)),
        other.cancel(lease.run_id),
    )
    assert await seqs(store, lease.run_id) == list(range(1, 82))
    assert [e.key for e in await store.journal(lease.run_id)] == keys
    assert [signal.n for signal in await store.signals(lease.run_id)] == list(range(1, 41))


async def test_a_zombie_never_writes_after_the_next_owner_read_the_journal(
    store: Store, other: Store
) -> None:
    for _ in range(25):
        old = await started(store, "zombie")

        async def haunt(lease: Lease = old) -> None:
            seq = 1
            while True:
                refused = await store.record([row(lease, seq)])
                if refused and refused[0].lost:
                    return
                seq = refused[0].next_seq if refused else seq + 1

        zombie = asyncio.create_task(haunt())
        while await other.last_seq(old.run_id) < 2:
            pass  # it writes
        await other.release("zombie")
        lease = await claim_one(other, "heir")
        read = await other.journal(old.run_id)
        async with asyncio.timeout(10):
            await zombie
        assert await other.journal(old.run_id) == read
        assert await other.last_seq(old.run_id) == lease.next_seq - 1
        assert await settle(other, lease) is RunState.SUCCEEDED
