"""What ``perdure run`` does: executes one run in this process, and the runs it starts, and no other
of the store; or follows a run that workers elsewhere execute."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson

from perdure import codec
from perdure.assembly import make_runtime
from perdure.cli import outcome, process
from perdure.cli.follow import follow, skew
from perdure.cli.terminal import output
from perdure.cli.terminal.progress import Progress
from perdure.config import Config
from perdure.errors import Conflict, InvalidInput, NotFound, UsageError
from perdure.runtime.agent import Agent
from perdure.runtime.worker import Worker, describe
from perdure.server import direct
from perdure.server.catalog import Catalog, Known
from perdure.server.event_view import view
from perdure.server.run_view import member
from perdure.server.submission import Submission, new_run
from perdure.store import Store
from perdure.store.blobs import Blobs
from perdure.store.rows import NewRun, Run


@dataclass(frozen=True, slots=True)
class Show:
    """How to show a run. ``target`` names the agent in commands that go on with it."""

    follow: bool
    json: bool
    target: str

    @property
    def lines(self) -> bool:
        """Events as JSON lines, instead of progress for people."""
        return self.follow and self.json

    @property
    def progress(self) -> bool:
        return not self.lines and (self.follow or output.stderr().is_terminal)


def here(
    config: Config,
    agents: Mapping[str, Agent],
    agent: Agent,
    value: Any,
    timeout: timedelta | None,
    *,
    is_text: bool,
    show: Show,
) -> int:
    """A new run, executed in this process. ``is_text``: the input came as plain text."""
    data = _encoded(agent, value, is_text)
    if agent.policy.durability == "none":
        return _unrecorded(config, agent, data, show)

    async def make(worker: Worker) -> NewRun:
        return await new_run(
            Submission(data, b"", timeout=timeout),
            Known(describe(agent), agent),
            worker.runtime.blobs,
            tenant="",
            idempotency_key=None,
            trace=None,
            watch=True,
            lease_to=worker.id,
        )

    return _execute(config, agents, make, show)


def resumed(config: Config, agents: Mapping[str, Agent], run_id: str, *, show: Show) -> int:
    """A run of the store, gone on with in this process."""
    return _execute(config, agents, run_id, show)


def remotely(
    config: Config,
    agent: str,
    value: Any,
    timeout: timedelta | None,
    *,
    resume: str | None,
    show: Show,
) -> int:
    """A run that workers of this store execute."""
    ended: list[Run] = []
    blobs = process.open_blobs(config)

    async def main(stop: process.Stop) -> int:
        async with process.open_store(config) as store:
            run_id = resume or await _enqueue(store, agent, value, timeout, blobs)
            stop.listen()
            with _progress(run_id, show, await skew(store)) as progress:
                if progress is not None:
                    progress.say(f"Run {run_id}")
                if not await _served(store, agent):
                    output.note(
                        f"No worker of this store serves {agent!r} now; the run waits for one."
                    )
                done = await _watch(store, run_id, progress, show, stop, after=0)
            if not done:
                output.note(
                    f"The run goes on without this command. perdure runs show {run_id}; "
                    f"to stop it: perdure runs cancel {run_id}"
                )
                return stop.exit_code
            ended.append(outcome.fetched(await store.get(run_id), blobs))
        return 0

    code = process.run_process(main)
    return _finish(ended, code, show)


# -- executing ------------------------------------------------------------------------------------


def _execute(
    config: Config,
    agents: Mapping[str, Agent],
    what: str | Callable[[Worker], Awaitable[NewRun]],
    show: Show,
) -> int:
    """``what``: the id of a run to go on with, or what makes a new one."""
    ended: list[Run] = []

    async def main(stop: process.Stop) -> int:
        resume = what if isinstance(what, str) else None
        async with process.open_store(config, create=resume is None) as store:
            worker = process.make_worker(config, store, agents)
            stop.bound(worker)
            after, run, waits = 0, None, list[dict[str, Any]]()
            if resume is None:
                assert callable(what)
                run = await what(worker)
                run_id = run.id
            else:
                run_id = resume
                after = await _check_resumable(store, run_id, agents, show)
                if (found := await store.get(run_id)).state.final:
                    ended.append(outcome.fetched(found, worker.runtime.blobs))
                    return 0
                waits = found.waits
            worker.root = run_id
            async with process.capturing(config, worker.runtime):
                stop.listen()
                await worker.start()
                with _progress(run_id, show, await skew(store)) as progress:
                    if progress is not None:
                        progress.say(f"Run {run_id}")
                        progress.waits(waits)
                    if run is not None:
                        (answer,) = await store.enqueue([run])
                        if answer.lease is not None:
                            worker.take(answer.lease)
                    done = await _watch(store, run_id, progress, show, stop, after=after)
                    if not done and progress is not None:
                        progress.say("  Parking: effects under way may finish. Ctrl-C again: stop.")
                    await process.drain(worker, stop)
            last = await store.get(run_id)
            if last.state.final:
                ended.append(outcome.fetched(last, worker.runtime.blobs))
                return 0
            output.note(
                f"{'Stopped' if stop.again.is_set() else 'Parked'}; the run {last.state.says}. "
                f"Go on with it:\n  perdure run --resume {run_id} {show.target}"
            )
        return stop.exit_code

    with output.agents_print_to_stderr():
        code = process.run_process(main)
    return _finish(ended, code, show)


def _finish(ended: list[Run], code: int, show: Show) -> int:
    """Print the run's end. Raises the RunError of one that did not succeed."""
    for run in ended:
        if show.lines:
            output.line(outcome.document(run))
        elif show.json:
            output.document(outcome.document(run))
        else:
            outcome.print_result(run.result)
        outcome.raise_unless_succeeded(run)
    return code


async def _watch(
    store: Store,
    run_id: str,
    progress: Progress | None,
    show: Show,
    stop: process.Stop,
    *,
    after: int,
) -> bool:
    """Show the run until it is final. False: told to stop before."""

    async def read() -> None:
        async for event in follow(store, run_id, after):
            if show.lines:
                output.line(view(event))
            elif progress is not None:
                progress.show(event)

    return not await stop.unless(read())


def _progress(run_id: str, show: Show, ahead: timedelta) -> AbstractContextManager[Progress | None]:
    return Progress(run_id, target=show.target, skew=ahead) if show.progress else nullcontext()


async def _check_resumable(
    store: Store, run_id: str, agents: Mapping[str, Agent], show: Show
) -> int:
    """Raises NotFound, Conflict for a run that this command cannot go on with. Returns the number
    of its last event."""
    run = await store.get(run_id, payloads=False)
    if run.agent not in agents:
        raise Conflict(
            f"The run {run_id} is one of agent {run.agent!r}, which {show.target} does not hold.",
            hint=f"Agents there: {', '.join(agents)}",
        )
    return await store.last_seq(run_id)


def _encoded(agent: Agent, value: Any, is_text: bool) -> bytes:
    """The input as codec bytes. Text that the agent cannot take is read as JSON, if it is that:
    ``perdure run agent.py 5``. Raises InvalidInput where the agent cannot take either."""
    data = codec.encode(value, what="input")
    try:
        agent.validate(data)
    except InvalidInput:
        if not is_text:
            raise
        try:
            other = codec.encode(orjson.loads(value), what="input")
            agent.validate(other)
        except (orjson.JSONDecodeError, UsageError):
            pass
        else:
            return other
        raise
    return data


def _unrecorded(config: Config, agent: Agent, data: bytes, show: Show) -> int:
    """An agent with ``durability="none"``: nothing is kept of its runs but what they cost."""

    async def perform() -> tuple[str, bytes]:
        if not _counts(config):
            return await direct.perform(agent, data)
        async with process.open_store(config, create=True) as store:
            runtime = make_runtime(config, store)
            try:
                async with process.capturing(config, runtime):
                    return await direct.perform(agent, data, runtime)
            finally:
                await runtime.end()

    with output.agents_print_to_stderr():
        run_id, result = asyncio.run(perform())
    if show.json:
        output.document(
            {
                "id": run_id,
                "agent": agent.name,
                "state": "succeeded",
                **member("result", result),
            }
        )
    else:
        outcome.print_result(result)
    return 0


def _counts(config: Config) -> bool:
    """Whether its model calls go through the gateway. One that is just called, in a folder where
    there is no store yet and nothing to hold it to, leaves no trace."""
    if not config.gateway.capture:
        return False
    file = config.embedded()
    told = config.limits or config.budgets or config.routes
    return bool(told) or file is None or file.exists()


# -- elsewhere ------------------------------------------------------------------------------------


async def _enqueue(
    store: Store, agent: str, value: Any, timeout: timedelta | None, blobs: Blobs
) -> str:
    try:
        known = await Catalog({}, store).find(agent)
    except NotFound as error:
        raise NotFound(
            f"{agent!r} is neither a TARGET (module:attribute or path/file.py:attribute) nor an "
            "agent of this store.",
            hint=error.hint or "Agents are known once a worker served them.",
        ) from None
    run = await new_run(
        Submission(codec.encode(value, what="input"), b"", timeout=timeout),
        known,
        blobs,
        tenant="",
        idempotency_key=None,
        trace=None,
        watch=True,
        lease_to=None,
    )
    (answer,) = await store.enqueue([run])
    return answer.id


async def _served(store: Store, agent: str) -> bool:
    for worker in await store.workers():
        queues = worker.get("queues")
        if isinstance(queues, list | tuple) and agent in queues:
            return True
    return False
