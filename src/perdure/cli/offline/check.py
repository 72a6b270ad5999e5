"""``perdure check``: every unfinished run of a store, rehearsed on the code at hand (rule X2).

Of the store everything is read and nothing written; no run is taken. Runs go in groups, read while
the outside is open and rehearsed beside each other while it is blocked, so that the store's own
connections never meet the blockade.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from perdure.cli import process
from perdure.cli.offline.blockade import Reached, blockade, is_agents, short
from perdure.cli.offline.checkpoints import detached
from perdure.cli.offline.document import Export, gather
from perdure.cli.offline.rehearsal import Rehearsal
from perdure.cli.offline.replay import Report, perform
from perdure.cli.offline.stage import Stage, stage
from perdure.cli.offline.verdict import Checked, Rehearsed, Verdict, judge
from perdure.config import Config
from perdure.core.record import Entry, RecordType
from perdure.core.retry import Severity, decide
from perdure.core.run import RunState
from perdure.errors import NotFound, PerdureError
from perdure.runtime.agent import Agent
from perdure.runtime.audit import Audit
from perdure.runtime.audit import Contact as Written
from perdure.runtime.closing import Ending
from perdure.runtime.runtime import Runtime
from perdure.store import make_store
from perdure.store.base import Store
from perdure.store.blobs import Blobs, FileBlobs
from perdure.store.rows import Filter, Run

UNFINISHED = (RunState.BLOCKED, RunState.QUEUED, RunState.RUNNING, RunState.WAITING)
PAGE = 500
UNWINDING = 5.0  # seconds that code gets to end when it was told to
PATIENCE = 2  # stretches of quiet that are silence, while others rehearse beside it

OnChecked = Callable[[Checked], None]


async def unfinished(store: Store, agents: Sequence[str], limit: int | None) -> list[str]:
    """Ids of the unfinished runs of these agents, the newest first of each."""
    found: list[str] = []
    for agent in agents:
        before: str | None = None
        while limit is None or len(found) < limit:
            size = PAGE if limit is None else min(PAGE, limit - len(found))
            page = await store.find(
                Filter(agent=agent, states=UNFINISHED, before=before, limit=size)
            )
            found += [run.id for run in page]
            if len(page) < size:
                break
            before = page[-1].id
    return found


async def elsewhere(store: Store, agents: Mapping[str, Agent]) -> dict[str, int]:
    """Agents that are not here -> how many unfinished runs they have."""
    found: dict[str, int] = {}
    for queue in await store.stats():
        if queue.queue not in agents:
            count = sum(queue.states.get(state.value, 0) for state in UNFINISHED)
            if count:
                found[queue.queue] = count
    return found


async def check(
    store: Store,
    blobs: Blobs,
    run_ids: Sequence[str],
    agents: Mapping[str, Agent],
    config: Config,
    *,
    concurrency: int,
    timeout: timedelta,
    online: bool,
    on_checked: OnChecked,
) -> None:
    """Tell ``on_checked`` of each. ``timeout`` is what one rehearsal may take; ``online``: code
    between effects may reach what it wants."""
    with TemporaryDirectory(prefix="perdure-check-") as folder:
        # Counts model calls that belong to no run, and is never opened.
        nowhere = make_store(f"sqlite:///{folder}/none.db")
        counting = Runtime(nowhere, FileBlobs(Path(folder)), "check")
        async with process.capturing(config, counting, strict=True):
            async for exports in _groups(store, blobs, run_ids, concurrency, on_checked):
                await _rehearse_all(exports, agents, timeout, online, on_checked)


async def _groups(
    store: Store, blobs: Blobs, run_ids: Sequence[str], size: int, on_checked: OnChecked
) -> AsyncIterator[list[Export]]:
    for i in range(0, len(run_ids), size):
        group: list[Export] = []
        for run_id in run_ids[i : i + size]:
            try:
                export = await gather(store, blobs, run_id, requests=False)
            except NotFound:
                continue  # forgotten meanwhile
            except PerdureError as error:
                run = await store.get(run_id, payloads=False)
                on_checked(_unclear(run, f"cannot be read: {error.message}"))
                continue
            if not export.run.state.final:
                group.append(export)
        yield group


async def _rehearse_all(
    exports: Sequence[Export],
    agents: Mapping[str, Agent],
    timeout: timedelta,
    online: bool,
    on_checked: OnChecked,
) -> None:
    ready: list[tuple[Export, Agent]] = []
    for export in exports:
        agent = agents[export.run.agent]
        try:
            ready.append((export, await detached(agent, export.run, from_input=False)))
        except PerdureError as error:
            on_checked(_unclear(export.run, error.message))
    written: list[Written] = []
    audit = Audit(written.append)
    async with stage() as staged:
        prepared = [
            (export, agent, await _prepare(staged, export, agent)) for export, agent in ready
        ]
        audit.start()
        try:
            with blockade(online=online) as reached:
                async with asyncio.TaskGroup() as tasks:
                    for export, agent, attempt in prepared:
                        tasks.create_task(
                            _rehearse(
                                export,
                                agent,
                                attempt,
                                timeout,
                                online,
                                reached,
                                written,
                                on_checked,
                            )
                        )
        finally:
            audit.stop()


class _Attempt:
    """A rehearsal and what it came across."""

    def __init__(self, staged: Stage) -> None:
        self.staged = staged
        self.found = Rehearsed("stopped")
        self.rehearsal: Rehearsal | None = None

    def answered(self, entry: Entry, reused: bool) -> None:
        self.found.answered += 1
        if reused:
            self.found.reused.append(entry.name)


async def _prepare(staged: Stage, export: Export, agent: Agent) -> _Attempt:
    attempt = _Attempt(staged)
    lease = await staged.put(export, ended=False)
    attempt.rehearsal = Rehearsal(
        lease,
        agent,
        staged.runtime,
        on_answer=attempt.answered,
        faithful=False,
        patience=PATIENCE,
    )
    await attempt.rehearsal.load()
    return attempt


async def _rehearse(
    export: Export,
    agent: Agent,
    attempt: _Attempt,
    timeout: timedelta,
    online: bool,
    reached: Sequence[Reached],
    written: Sequence[Written],
    on_checked: OnChecked,
) -> None:
    rehearsal, found, run = attempt.rehearsal, attempt.found, export.run
    assert rehearsal is not None
    report = Report(run.id)
    performing = perform(rehearsal, report)
    _, late = await asyncio.wait({performing}, timeout=timeout.total_seconds())
    if late:
        rehearsal.left = True  # its thread is not waited for
        rehearsal.closing.close(Ending.LOST)
        performing.cancel()
        await asyncio.wait({performing}, timeout=UNWINDING)
        says = f"does not come to an end within {timeout.total_seconds():g} s: code between effects"
        on_checked(_unclear(run, says))
        return
    performing.result()
    found.outcome, found.error = report.outcome, report.error
    found.stops = rehearsal.stops
    if found.stops:
        found.outcome = "stopped"
    if found.error is not None:
        found.error_at = _line(found.error)
        found.fate = _fate(run, rehearsal, found.error)
    found.unread = rehearsal.journal.unread()
    found.resumed = agent.framework == "langgraph" and agent.target is not None and _saves(agent)
    found.contacts = [one.what for one in reached if one.run_id == run.id]
    found.blocked = bool(found.contacts) and not online
    found.contacts += [
        f"{one.what} ({one.on}) at {short(one.file)}:{one.line}"
        for one in written
        if one.run_id == run.id and one.what.startswith(("writes", "makes", "removes"))
    ]
    recorded = len({event.key for event in export.log if event.type == RecordType.ENTRY})
    on_checked(judge(run, recorded, found))


def _saves(agent: Agent) -> bool:
    return getattr(agent.target, "checkpointer", None) not in (None, False, True)


def _fate(run: Run, rehearsal: Rehearsal, error: BaseException) -> str:
    """What the next attempt of the run would end in (rule R1)."""
    severity = rehearsal.policy.severity(error)
    failures = run.attempts + 1
    if severity is Severity.FATAL:
        return "the run would fail"
    if decide(rehearsal.policy.retry, failures, severity, 0.0).final:
        return "the run would be dead"
    return "it would be tried again" if failures < run.max_attempts else "the run would be dead"


def _unclear(run: Run, says: str) -> Checked:
    return Checked(run.id, run.agent, run.state, Verdict.UNCLEAR, says)


def _line(error: BaseException) -> str | None:
    """The agent's own innermost line of an error."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if is_agents(frame.filename):
            return f"{short(frame.filename)}:{frame.lineno}"
    return None
