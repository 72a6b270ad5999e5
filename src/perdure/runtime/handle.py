"""A handle starts runs of one agent: from inside a run as its child, so that it is journaled,
or from outside through a store."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from uuid import UUID, uuid5

import orjson

from perdure import codec
from perdure.codec import RAW, decode_failure
from perdure.core import trace
from perdure.core.digest import digest
from perdure.core.ports import current_boundary
from perdure.core.record import EntryState, Kind, Promise
from perdure.errors import BoundaryError, RunCancelled, RunDead, RunFailed
from perdure.runtime.agent import Agent
from perdure.runtime.attempt import Attempt
from perdure.runtime.place import Place
from perdure.runtime.ticket import Live
from perdure.store.rows import NewRun, Signal

_CHILDREN = UUID("6f1b24ab-6a1c-4a8e-9a39-0d5f0f3c7c11")  # namespace of child run ids
MAX_DEPTH = 16  # runs that start runs that start runs


@dataclass(frozen=True, slots=True)
class ChildRun:
    """A run started by this run."""

    id: str
    agent: str


class AgentHandle:
    """``start`` gives the run, ``run`` its result; both are effects inside a run."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.name = agent.name

    async def start(self, value: Any = None, *, timeout: timedelta | None = None) -> ChildRun:
        """Start a child run and go on. Raises BoundaryError outside a run: there use a Client."""
        child, _ = await self._start(value, timeout, wait=False)
        return child

    async def run(self, value: Any = None, *, timeout: timedelta | None = None) -> Any:
        """Start a child run and wait for its result. Raises RunFailed, RunDead, RunCancelled."""
        _, result = await self._start(value, timeout, wait=True)
        return result

    async def _start(
        self, value: Any, timeout: timedelta | None, *, wait: bool
    ) -> tuple[ChildRun, Any]:
        found = current_boundary.get()
        if found is None:
            raise BoundaryError(
                f"{self.name}.run() was called outside a run.",
                hint="From outside use perdure.Client, or `perdure run`.",
            )
        place = cast("Place", found).here()
        if asyncio.get_running_loop() is place.attempt.loop:
            return await self._child(place, False, value, timeout, wait)
        # Some SDKs run a synchronous agent on a loop of its own.
        child: tuple[ChildRun, Any] = await place.attempt.crossing.ask_async(
            self._child(place, True, value, timeout, wait)
        )
        return child

    async def _child(
        self, place: Place, foreign: bool, value: Any, timeout: timedelta | None, wait: bool
    ) -> tuple[ChildRun, Any]:
        attempt = place.attempt
        if place.once:
            raise BoundaryError("A child run cannot be started inside a once effect (P4).")
        if attempt.lease.depth >= MAX_DEPTH:
            raise BoundaryError(f"Runs are nested more than {MAX_DEPTH} deep.")
        data = codec.encode(value, self.agent.input_type, what=f"input of {self.name!r}")
        name = self.name if wait else f"{self.name} (started)"
        ticket = await attempt.admit(
            place, Kind.RUN, name, digest(data), Promise.IDEMPOTENT, foreign=foreign
        )
        child = ChildRun(str(uuid5(_CHILDREN, f"{place.run_id}:{ticket.key.hex()}")), self.name)
        if not ticket.live:
            return child, self._result(ticket.state, ticket.value) if wait else None
        live = cast("Live", ticket)
        await self._enqueue(attempt, child, live.key, data, timeout)
        if not wait:
            await live.done(orjson.dumps(child.id))
            return child, None
        signal = await attempt.waiting.signal(
            live, f"run:{child.id}", until=None, reason="run", foreign=foreign
        )
        assert signal is not None
        document = await self._outcome(attempt, child, signal)
        state = EntryState.DONE
        if orjson.loads(document)["state"] == "succeeded":
            await live.done(document)
        else:
            state = EntryState.FAILED
            await live.failed(document)
        return child, self._result(state, document)

    async def _enqueue(
        self, attempt: Attempt, child: ChildRun, key: bytes, data: bytes, timeout: timedelta | None
    ) -> None:
        """The id follows from the effect's key, so that asking twice starts one run. The child
        inherits what is left of its parent's time, its tenant, labels and trace."""
        lease = attempt.lease
        if lease.deadline_at is not None:
            left = lease.deadline_at - attempt.now()
            timeout = left if timeout is None else min(timeout, left)
        # As this worker serves it: settings may say otherwise than the code.
        agent = attempt.runtime.agents.get(self.name, self.agent)
        intake = agent.policy.intake
        run = NewRun(
            id=child.id,
            agent=self.name,
            input=await attempt.stored(data),
            queue=agent.queue,
            tenant=lease.tenant,
            priority=intake.priority,
            timeout=timeout or intake.timeout,
            max_attempts=intake.max_attempts,
            parent=lease.run_id,
            parent_key=key,
            depth=lease.depth + 1,
            labels=lease.labels,
            trace=trace.onward(lease.run_id, lease.trace),
        )
        await attempt.runtime.persist(lambda: attempt.runtime.store.enqueue([run]))

    async def _outcome(self, attempt: Attempt, child: ChildRun, signal: Signal) -> bytes:
        """The child's outcome, with the number of the signal that told it."""
        doc = {"n": signal.n, **orjson.loads(signal.payload)}
        if doc.pop("result_ref", False):
            # It did not fit into the signal.
            run = await attempt.runtime.persist(lambda: attempt.runtime.store.get(child.id))
            data = await attempt.opened(run.result) or b"null"
            if data[:1] == RAW:
                doc["raw"] = b64encode(data).decode()
            else:
                doc["result"] = orjson.Fragment(data)
        return orjson.dumps(doc)

    def _result(self, state: str, document: bytes) -> Any:
        doc = orjson.loads(document)
        if state == EntryState.DONE:
            data = b64decode(doc["raw"]) if "raw" in doc else orjson.dumps(doc.get("result"))
            return codec.decode(data, self.agent.output_type)
        error = doc.get("error") or {}
        cls = {"failed": RunFailed, "dead": RunDead, "cancelled": RunCancelled}[doc["state"]]
        failure = cls(f"The child run of {self.name!r} {doc['state']}: {error.get('message', '')}")
        raise failure from (decode_failure(orjson.dumps(error)) if error else None)
