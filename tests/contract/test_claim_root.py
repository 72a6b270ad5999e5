"""Leasing one run and those below it, and no other (``perdure run``)."""

from __future__ import annotations

from perdure.core.run import RunState
from perdure.store import Store
from tests.contract.driver import add, claim, settle, state_of


async def below(store: Store, root: str, *queues: str, limit: int = 100) -> list[str]:
    """The ids of what is leased of ``root``'s family."""
    claimed = await store.claim("w", queues or ("default",), limit, idle=True, root=root)
    return [lease.run_id for lease in claimed.leases]


async def test_only_the_run_and_what_it_or_they_started(store: Store) -> None:
    other = await add(store, priority=9)
    root = await add(store)
    child = await add(store, parent=root, depth=1)
    grandchild = await add(store, parent=child, depth=2)
    await add(store, parent=other, depth=1)
    assert await below(store, root) == [root, child, grandchild]
    assert await below(store, root) == []
    assert await state_of(store, other) is RunState.QUEUED


async def test_limit_and_queues_hold_here_too(store: Store) -> None:
    root = await add(store)
    child = await add(store, parent=root, depth=1, queue="else")
    assert await below(store, root, limit=1) == [root]
    assert await below(store, root) == []
    assert await below(store, root, "default", "else") == [child]


async def test_a_child_is_found_whatever_its_parent_is_doing(store: Store) -> None:
    root = await add(store)
    (lease,) = await claim(store)
    child = await add(store, parent=root, depth=1)
    await settle(store, lease)
    assert await below(store, root) == [child]


async def test_a_root_that_is_not_there_has_nothing(store: Store) -> None:
    await add(store)
    assert await below(store, "00000000-0000-0000-0000-000000000000") == []
