"""Cancelling a run and everything it started (rule C4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from perdure.core.run import FINAL, RunState
from perdure.errors import Conflict
from perdure.store.base import Store
from perdure.store.rows import Filter, Run

_UNFINISHED = tuple(state for state in RunState if state not in FINAL)
PAGE = 200


async def cancel_run(store: Store, run_id: str, reason: str = "") -> Run:
    """Cancel a run and its children, their children included: nobody waits for them any more. A
    child that ends meanwhile keeps its end. Raises NotFound, Conflict for the run itself."""
    run = await store.cancel(run_id, reason)
    async for child in _children(store, run_id):
        try:
            await cancel_run(store, child, reason or f"its parent {run_id} was cancelled")
        except Conflict:
            pass
    return run


async def _children(store: Store, run_id: str) -> AsyncIterator[str]:
    filter = Filter(parent=run_id, states=_UNFINISHED, limit=PAGE)
    while page := await store.find(filter):
        for child in page:
            yield child.id
        filter = replace(filter, before=page[-1].id)
