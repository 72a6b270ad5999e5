"""Runs an agent's code on an exported journal, and compares what it does with what it did."""

from __future__ import annotations

import asyncio
import bdb
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from perdure.cli import process
from perdure.cli.offline.blockade import blockade
from perdure.cli.offline.checkpoints import detached
from perdure.cli.offline.debugger import Debugger
from perdure.cli.offline.document import Export
from perdure.cli.offline.rehearsal import Rehearsal, Stop
from perdure.cli.offline.stage import stage
from perdure.codec import BLOB, encode_failure
from perdure.config import Config
from perdure.core.record import Entry
from perdure.core.run import RunState
from perdure.errors import Conflict, Parked
from perdure.runtime.agent import Agent
from perdure.server.run_view import failure, member

OnAnswer = Callable[[Entry, bool], None]


@dataclass(slots=True)
class Report:
    """What a replay came to. ``outcome``: returned, raised, or stopped (at what the journal does
    not answer). ``reused``: names of model calls whose request changed (K7). ``unread``: what is
    recorded and was not asked for. ``contacts``: what touched the outside beside effects."""

    run_id: str
    outcome: str = "stopped"
    result: bytes | None = None
    error: BaseException | None = None
    stop: Stop | None = None
    answered: int = 0
    reused: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    contacts: list[str] = field(default_factory=list)
    differs: str | None = None

    def to_dict(self) -> dict[str, Any]:
        document = None if self.error is None else orjson.loads(encode_failure(self.error))
        shown = {
            "run": self.run_id,
            "outcome": self.outcome,
            "same": self.differs is None,
            "differs": self.differs,
            **member("result", self.result),
            "error": failure(document),
            "stopped_at": None
            if self.stop is None
            else {"kind": self.stop.kind, "name": self.stop.name, "at": self.stop.at},
            "answered": self.answered,
            "reused": self.reused,
            "unread": self.unread,
            "contacts": self.contacts,
        }
        found: dict[str, Any] = orjson.loads(orjson.dumps(shown))
        return found


def choose(agents: Mapping[str, Agent], export: Export, target: str) -> Agent:
    """The run's agent; where only one is there it may have another name. Raises Conflict."""
    agent = agents.get(export.run.agent)
    if agent is None and len(agents) == 1:
        agent = next(iter(agents.values()))
    if agent is None:
        raise Conflict(
            f"The run is one of agent {export.run.agent!r}, which {target} does not hold.",
            hint=f"Agents there: {', '.join(agents)}",
        )
    return agent


async def replay(
    export: Export,
    agent: Agent,
    config: Config,
    *,
    on_answer: OnAnswer,
    debug: Debugger | None = None,
    online: bool = False,
) -> Report:
    """Nothing goes out but, where ``online``, what code between effects reaches. Nothing of the
    run's own store is touched. Raises BdbQuit where the debugger was left with ``q``."""
    report = Report(export.run.id)
    agent = await detached(agent, export.run, from_input=True)

    def answer(entry: Entry, reused: bool) -> None:
        report.answered += 1
        if reused:
            report.reused.append(entry.name)
        on_answer(entry, reused)

    async with stage() as staged, process.capturing(config, staged.runtime, strict=True):
        lease = await staged.put(export, ended=True)
        attempt = Rehearsal(
            lease,
            agent if debug is None else debug.stopping(agent),
            staged.runtime,
            on_answer=answer,
            on_request=None if debug is None else debug.requested,
            on_stop=None if debug is None else debug.stopped,
        )
        await attempt.load()
        with blockade(online=online) as contacts:
            await perform(attempt, report)
        report.contacts = [contact.what for contact in contacts]
        report.unread = [f"{e.kind} {e.name}" for e in attempt.journal.unread()]
    if attempt.stops:
        report.outcome, report.stop = "stopped", attempt.stops[0]
    if debug is not None and debug.left:
        raise bdb.BdbQuit
    report.differs = _difference(report, export)
    if debug is not None and report.outcome == "raised" and report.error is not None:
        debug.post_mortem(report.error)
    return report


def perform(attempt: Rehearsal, report: Report) -> asyncio.Task[None]:
    """Begin it, in a task of its own, since unwinding cancels it; ``report`` gets how it ends."""

    async def call() -> None:
        try:
            value = await attempt.decode_input()
            returned = await attempt.call(value)
            await attempt.closing.finish()
            report.result = attempt.agent.encode_output(returned)
            report.outcome = "returned"
        except (Parked, asyncio.CancelledError):
            if not attempt.stops and attempt.closing.error is not None:
                report.outcome, report.error = "raised", attempt.closing.error
        except bdb.BdbQuit:
            raise  # whoever sits at the debugger has seen enough
        except Exception as error:
            report.outcome, report.error = "raised", error

    return asyncio.create_task(call())


def _difference(report: Report, export: Export) -> str | None:
    """Why this is not what is recorded, or None."""
    run = export.run
    if report.outcome == "stopped":
        if report.stop is not None and report.stop.conflict is not None:
            return f"the code {report.stop.conflict} ({report.stop.at})"
        if not run.state.final or run.state is RunState.CANCELLED:
            return None
        stop = report.stop
        return (
            f"the code asks for {stop}, and the journal of a run that {run.state.says} ends before"
        )
    if report.outcome == "raised":
        name = type(report.error).__qualname__
        recorded = str((run.error or {}).get("type", "")).rpartition(":")[2]
        if name == recorded:
            return None
        told = f"{name}: {report.error}".rstrip(".")
        return f"the code raises {told}" + (f", and not {recorded}" if recorded else "")
    if run.state is not RunState.SUCCEEDED:
        return f"the code returns, and the run {run.state.says}"
    recorded_result = run.result
    if recorded_result is not None and recorded_result[:1] == BLOB:
        recorded_result = export.blobs.get(recorded_result[1:].decode())
    if report.result != recorded_result:
        return "the result is another"
    if report.unread:
        return f"the code does not ask for {report.unread[0]}, which is recorded"
    return None
