"""Why a run is not done: read from the store, written nowhere.

Whoever looks at a stuck run asks the same questions in the same order: is anyone there who could
execute it, what stands before it, what is it doing, for how long, and what ends that.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from perdure.cli.diagnosis.finding import Finding, Step
from perdure.cli.diagnosis.waits import of_waits
from perdure.cli.terminal.times import short, short_seconds, stamp
from perdure.cli.waterfall.timeline import UNDER_WAY, WAITING, Timeline
from perdure.core.run import RunState
from perdure.core.words import counted
from perdure.errors import NotFound
from perdure.store.base import Store
from perdure.store.rows import Filter, Run

OVERDUE = timedelta(seconds=30)  # timers are looked at every few seconds
QUIET = timedelta(seconds=30)  # after which silence of a running run is worth a word
SHOWN = 3  # runs that are named where many stand before this one
_UNFINISHED = (RunState.BLOCKED, RunState.QUEUED, RunState.RUNNING, RunState.WAITING)


async def diagnose(store: Store, run: Run, line: Timeline, now: datetime) -> list[Finding]:
    """What holds the run, the most telling first; nothing for one that is as it should be: done,
    or cancelled. Raises StoreUnavailable."""
    if run.state is RunState.WAITING:
        return await _waiting(store, run, now)
    if run.state is RunState.QUEUED:
        return await _queued(store, run, now)
    if run.state is RunState.BLOCKED:
        return await _blocked(store, run)
    if run.state is RunState.RUNNING:
        return await _running(store, run, line, now)
    if run.state in (RunState.FAILED, RunState.DEAD):
        return [_ended(run)]
    return []


async def _waiting(store: Store, run: Run, now: datetime) -> list[Finding]:
    found = of_waits(run.waits, run.id)
    for wait in run.waits:
        if wait.get("reason") == "run":
            child = await _child(store, str(wait.get("name") or "").removeprefix("run:"), now)
            found += [child] if child else []
    if run.wake_at is not None:
        late = now - run.wake_at
        if not run.waits and late < timedelta(0):
            found.append(
                Finding(f"it is to begin at {stamp(run.wake_at)}, in {short(run.wake_at - now)}")
            )
        elif late > OVERDUE:
            found.insert(0, await _overdue(store, late))
        elif any(wait.get("reason") == "retry" for wait in run.waits):
            found.append(
                Finding(
                    f"it goes on by itself at {stamp(run.wake_at)}, in {short(run.wake_at - now)}",
                    (
                        Step(f"perdure runs redrive {run.id}", "to try it now"),
                        Step(f"perdure runs cancel {run.id}", "to stop it"),
                    ),
                )
            )
    return found


async def _child(store: Store, run_id: str, now: datetime) -> Finding | None:
    try:
        child = await store.get(run_id, payloads=False)
    except NotFound:
        return None
    about = f"that run {child.state.says}"
    if child.state is RunState.WAITING:
        inner = of_waits(child.waits, child.id)
        if inner:
            return Finding(f"{about}: it {_verb(inner[0].says)}", inner[0].steps)
    if child.state is RunState.QUEUED:
        inner = await _queued(store, child, now)
        return Finding(f"{about}: {inner[0].says}", inner[0].steps)
    return Finding(about)


def _verb(says: str) -> str:
    return says if says.startswith(("waits", "sleeps")) else f"waits: {says}"


async def _overdue(store: Store, late: timedelta) -> Finding:
    says = f"its time came {short(late)} ago, and nobody woke it"
    if not await store.workers():
        return Finding(f"{says}: no worker is there", (Step("perdure worker TARGET"),))
    return Finding(
        f"{says}, though workers are there: they cannot reach the database, or their clock's "
        "leader hangs; look at their logs",
    )


async def _queued(store: Store, run: Run, now: datetime) -> list[Finding]:
    serving = [worker for worker in await store.workers() if _serves(worker, run.queue)]
    if not serving:
        others = await store.workers()
        there = (
            f"; {counted(len(others), 'worker serves', 'workers serve')} other agents"
            if others
            else ", and no other either"
        )
        return [
            Finding(
                f"no worker of this store serves the agent {run.agent!r}{there}",
                (Step("perdure worker TARGET", f"start one, TARGET being where {run.agent!r} is"),),
            )
        ]
    alive = [worker for worker in serving if not _silent(worker, now)]
    if not alive:
        heard = max(_seen(worker) for worker in serving)
        return [
            Finding(
                f"the workers that serve {run.agent!r} have not been heard of for "
                f"{short(now - heard)}: they hang, or are cut off from the database",
                (Step("perdure worker TARGET", "start another"),),
            )
        ]
    busy = sum(_runs(worker) for worker in alive)
    names = ", ".join(str(worker["id"]) for worker in alive[:SHOWN])
    if run.alone:
        return [
            Finding(
                "it took its worker down twice and is to be executed alone: it waits until one of "
                f"these has nothing else to do: {names} ({counted(busy, 'run')} under way)"
            )
        ]
    before = 0
    for queue in await store.stats():
        if queue.queue == run.queue:
            before = queue.states.get("queued", 0)
    return [
        Finding(
            f"a worker should take it any moment: workers of {run.agent!r}: {len(alive)}, "
            f"runs that they execute: {busy}, queued: {before}",
            (
                Step(
                    "perdure worker TARGET",
                    "if that stays so they are full (worker.concurrency) or stopping; "
                    "start another",
                ),
            ),
        )
    ]


async def _blocked(store: Store, run: Run) -> list[Finding]:
    if run.session is not None:
        wanted = Filter(session=run.session, tenant=run.tenant, states=_UNFINISHED, limit=1000)
        ahead = [one for one in await store.find(wanted) if _older(one, run)]
        if ahead:
            head = ahead[-1]
            return [
                Finding(
                    f"it is queued behind {counted(len(ahead), 'run')} of its session "
                    f"{run.session!r}; the first of them is {head.state}",
                    (Step(f"perdure runs show {head.id}"),),
                )
            ]
    active = await store.find(
        Filter(agent=run.agent, states=(RunState.RUNNING, RunState.QUEUED), limit=SHOWN)
    )
    steps = tuple(Step(f"perdure runs show {one.id}", f"{one.state} now") for one in active)
    return [
        Finding(
            f"the cap of agent {run.agent!r} is reached: it goes on when one that is queued or "
            f"running is over (raise cap in [agents.{run.agent}])",
            steps,
        )
    ]


async def _running(store: Store, run: Run, line: Timeline, now: datetime) -> list[Finding]:
    found: list[Finding] = []
    lost = _lost(run, await store.workers(), now)
    if lost is not None:
        return [lost]
    if run.cancel_requested:
        found.append(
            Finding(
                "it was asked to stop and is cleaning up; synchronous code that reaches no effect "
                "ends with its worker's process"
            )
        )
    under_way = [effect for effect in line.effects if effect.state in (UNDER_WAY, "intent")]
    inner = {effect.scope for effect in under_way}
    for effect in under_way:
        if effect.key in inner or effect.kind in WAITING:
            continue
        since = line.length - effect.tries[-1].began
        steps: tuple[Step, ...] = ()
        if since > QUIET.total_seconds():
            steps = (Step(f"perdure runs cancel {run.id}", "to stop it"),)
        says = f"{effect.kind} {effect.name!r} is under way for {short_seconds(since)}"
        hint = "; give it a timeout" if steps and effect.kind in ("tool", "step") else ""
        found.append(Finding(f"{says}{hint}", steps))
    if not found:
        last = max((one.ended for effect in line.effects for one in effect.tries), default=None)
        since = line.length - (last if last is not None else _began(line))
        says = f"no effect that is written down is under way; the last ended {_ago(since)}"
        if last is None:
            says = f"it has recorded nothing yet, {short_seconds(since)} after it began"
        steps = ()
        if since > QUIET.total_seconds():
            says += ": a step or tool without a promise, or code between two effects, takes long"
            steps = (Step(f"perdure runs cancel {run.id}", "to stop it"),)
        else:
            says += " (a step or tool without a promise is written down when it ends)"
        found.append(Finding(says, (Step(f"perdure runs events {run.id} -f --text"), *steps)))
    return found


def _lost(run: Run, workers: list[dict[str, object]], now: datetime) -> Finding | None:
    """What became of its worker, if it is not well."""
    own = next((worker for worker in workers if worker["id"] == run.worker), None)
    if own is not None and not _silent(own, now):
        return None
    if own is None:
        says = f"its worker {run.worker} is gone"
    else:
        says = (
            f"its worker {run.worker} has said nothing for {short(now - _seen(own))} (its lease is "
            f"{own['lease_s']:g} s): it is dead, frozen or cut off"
        )
    others = [w for w in workers if w is not own and not _silent(w, now)]
    if any(_serves(worker, run.queue) for worker in others):
        return Finding(f"{says}; another worker takes the run over within seconds")
    if others:
        says += "; other workers free the run within seconds"
    return Finding(
        f"{says}; no other serves the agent {run.agent!r}",
        (Step("perdure worker TARGET", "it goes on from its journal as soon as there is one"),),
    )


def _ended(run: Run) -> Finding:
    error = run.error or {}
    if run.state is RunState.DEAD and run.attempts < run.max_attempts:
        says = "it kept taking its worker down (memory, or a crash in native code)"
    elif run.state is RunState.DEAD:
        says = (
            "its one attempt failed"
            if run.max_attempts == 1
            else f"all {run.max_attempts} attempts failed"
        )
    else:
        says = "its error is final: it was not tried again"
    hint = f" ({error['hint']})" if error.get("hint") else ""
    return Finding(
        f"{says}{hint}",
        (
            Step(
                f"perdure replay {run.id} TARGET --pdb",
                "to look into it where it broke, offline and without cost",
            ),
            Step(
                f"perdure runs redrive {run.id}",
                "once the cause is mended, to go on from its journal",
            ),
        ),
    )


def with_options(findings: Sequence[Finding], options: str) -> list[Finding]:
    """The same with ``options`` on every command, for a store that was named on the command
    line."""
    return [
        Finding(f.says, tuple(Step(f"{step.command}{options}", step.when) for step in f.steps))
        for f in findings
    ]


# -- workers --------------------------------------------------------------------------------------


def _serves(worker: dict[str, object], queue: str) -> bool:
    queues = worker.get("queues")
    return isinstance(queues, list | tuple) and queue in queues


def _seen(worker: dict[str, object]) -> datetime:
    seen = worker["seen_at"]
    assert isinstance(seen, datetime)
    return seen


def _silent(worker: dict[str, object], now: datetime) -> bool:
    lease: Any = worker["lease_s"]
    return now - _seen(worker) > timedelta(seconds=float(lease))


def _runs(worker: dict[str, object]) -> int:
    count: Any = worker.get("runs", 0)
    return int(count)


def _older(one: Run, run: Run) -> bool:
    return one.id != run.id and one.created_at <= run.created_at


def _began(line: Timeline) -> float:
    running: Sequence[float] = [one.began for one in line.stretches if one.what == "running"]
    return running[-1] if running else 0.0


def _ago(seconds: float) -> str:
    return f"{short_seconds(seconds)} ago"
