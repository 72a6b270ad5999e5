"""One attempt at a run of a graph (rule A1).

Without a checkpointer of its own the graph starts from the run's input in every attempt, and the
journal answers what was done before. With one, the thread is the run's session (else the run
itself), the run's id is stamped into the checkpoints' metadata, and an attempt that finds the
thread's latest checkpoint to be of this run goes on from there; passing the input once more would
append it twice. Either way the place names of tasks are the same, since supersteps are counted
from the same start.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.pregel import Pregel
from langgraph.types import Command, StateSnapshot

from perdure.core.ports import current_boundary
from perdure.errors import UsageError
from perdure.frameworks.langgraph.interrupts import (
    Interrupts,
    Pending,
    breakpoint_at,
    is_over,
    pending,
)
from perdure.frameworks.langgraph.places import Places, places
from perdure.frameworks.langgraph.rounds import ONE_ID, Search, answered, askers
from perdure.frameworks.langgraph.saver import PrivateSaver, fenced
from perdure.frameworks.langgraph.shapes import plain, read_input
from perdure.frameworks.langgraph.stream import Stream
from perdure.runtime.place import Place
from perdure.runtime.threads import in_thread

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt

Graph = Pregel[Any, Any, Any, Any]

STAMP = "perdure_run"  # in the metadata of the checkpoints of a run
MODES = ["values", "updates", "tasks", "custom"]


async def run_unrecorded(graph: Graph, value: Any, *, agent: str, run_id: str, sync: bool) -> Any:
    """A graph of an agent with ``durability="none"``: as if called by its own program. Raises
    UsageError where it stops at an interrupt, for which nothing could wait."""
    source = read_input(graph, value, agent=agent)
    config: RunnableConfig = {"configurable": {"thread_id": run_id}}
    if sync:
        result = await asyncio.to_thread(graph.invoke, source, config)
    else:
        result = await graph.ainvoke(source, config)
    if isinstance(result, dict) and "__interrupt__" in result:
        raise UsageError(
            f"The graph of agent {agent!r} was interrupted, and with durability='none' nothing is "
            "kept that could go on with an answer.",
            hint="Leave durability at its default for agents that ask.",
        )
    return plain(result)


class GraphRun:
    """``run_async`` or ``run_sync`` it once."""

    def __init__(self, graph: Graph, attempt: Attempt) -> None:
        self._attempt = attempt
        own = graph.checkpointer
        self._lasting = isinstance(own, BaseCheckpointSaver)
        self._saves = own is not False
        if self._saves:
            graph = copy.copy(graph)
            graph.checkpointer = (
                fenced(own, attempt) if isinstance(own, BaseCheckpointSaver) else PrivateSaver()
            )
        self._graph = graph
        self._places = Places(lambda: attempt.void)
        self._stream = Stream(attempt, self._places)
        self._interrupts = Interrupts(attempt, lasting=self._lasting)
        self._latest: Any = None
        self._stopped = False  # at an interrupt or breakpoint
        lease = attempt.lease
        thread = (lease.session or attempt.life) if self._lasting else attempt.life
        self._config: RunnableConfig = {
            "configurable": {"thread_id": thread},
            "metadata": {STAMP: attempt.life},
            "callbacks": [self._places, self._stream.tokens],
        }

    async def run_async(self, value: Any) -> Any:
        """The graph's result for the run's input, as JSON values."""
        token = places.set(self._places)
        try:
            source = read_input(self._graph, value, agent=self._attempt.agent_name)
            waiting: Pending | None = None
            if self._lasting:
                snapshot = await self._graph.aget_state(self._config)
                if self._is_ours(snapshot):
                    source, waiting = None, self._left_waiting(snapshot)
                    self._latest = self._output(snapshot)
                    if is_over(snapshot):
                        return self._result()
            while True:
                if waiting is not None:
                    here = cast("Place", current_boundary.get()).here()
                    rounds = await self._rounds(waiting)
                    answers = await self._interrupts.answers(waiting, here, rounds, foreign=False)
                    await self._start_over(waiting)
                    source = Command(resume=answers) if answers else None
                await self._pass(source)
                if not self._stopped:
                    return self._result()
                waiting = self._stopped_at(
                    await self._graph.aget_state(self._config) if self._saves else None
                )
        finally:
            self._stream.flush()
            places.reset(token)

    async def run_sync(self, value: Any) -> Any:
        """The same for a graph that only works synchronously, in a thread of its own."""
        try:
            attempt = self._attempt
            return await in_thread(
                lambda: self._in_thread(value), name=attempt.run_id, left=lambda: attempt.left
            )
        finally:
            self._stream.flush()

    def _in_thread(self, value: Any) -> Any:
        places.set(self._places)
        cast("Place", current_boundary.get()).mine()
        source = read_input(self._graph, value, agent=self._attempt.agent_name)
        waiting: Pending | None = None
        if self._lasting:
            snapshot = self._graph.get_state(self._config)
            if self._is_ours(snapshot):
                source, waiting = None, self._left_waiting(snapshot)
                self._latest = self._output(snapshot)
                if is_over(snapshot):
                    return self._result()
        while True:
            if waiting is not None:
                here = cast("Place", current_boundary.get()).here()
                rounds = self._rounds_sync(waiting)
                answers = here.wait_blocking(
                    self._interrupts.answers(waiting, here, rounds, foreign=True)
                )
                here.wait_blocking(self._start_over(waiting))
                source = Command(resume=answers) if answers else None
            self._pass_sync(source)
            if not self._stopped:
                return self._result()
            waiting = self._stopped_at(self._graph.get_state(self._config) if self._saves else None)

    # -- one pass, from its source to the end or an interrupt -----------------------------------

    async def _pass(self, source: Any) -> None:
        self._stopped = False
        async for namespace, mode, payload in self._graph.astream(
            source, self._config, **self._how()
        ):
            self._take(namespace, mode, payload, self._stream.chunk)

    def _pass_sync(self, source: Any) -> None:
        self._stopped = False
        loop = self._attempt.loop

        def tell(*chunk: Any) -> None:
            loop.call_soon_threadsafe(self._stream.chunk, *chunk)

        for namespace, mode, payload in self._graph.stream(source, self._config, **self._how()):
            self._take(namespace, mode, payload, tell)

    def _how(self) -> dict[str, Any]:
        how: dict[str, Any] = {
            "stream_mode": MODES,
            "subgraphs": True,
            "output_keys": self._graph.output_channels,
        }
        if self._saves:
            how["durability"] = "sync" if self._lasting else "exit"
        return how

    def _take(
        self, namespace: tuple[str, ...], mode: str, payload: Any, tell: Callable[..., None]
    ) -> None:
        if mode == "values":
            if not namespace:
                self._latest = payload
        elif mode == "updates":
            if not namespace and isinstance(payload, dict) and "__interrupt__" in payload:
                self._stopped = True
        else:
            tell(namespace, mode, payload)

    # -- between two passes -------------------------------------------------------------------

    def _is_ours(self, snapshot: StateSnapshot) -> bool:
        return (snapshot.metadata or {}).get(STAMP) == self._attempt.life

    def _left_waiting(self, snapshot: StateSnapshot) -> Pending | None:
        """What an earlier attempt left the graph waiting for; None where it was merely cut."""
        found = pending(snapshot)
        if found is None or found.questions or breakpoint_at(self._graph, snapshot):
            return found
        return found if self._interrupts.were_asked(found) else None

    def _stopped_at(self, snapshot: StateSnapshot | None) -> Pending:
        found = pending(snapshot) if snapshot is not None else None
        if found is None:
            raise UsageError(
                f"The graph of agent {self._attempt.agent_name!r} was interrupted and cannot be "
                "resumed: it is compiled with checkpointer=False.",
                hint="Leave checkpointer out, or give it one.",
            )
        return found

    async def _rounds(self, waiting: Pending) -> dict[str, int]:
        """The answers that a task has had, by the id of its question, where that is the first's."""
        saver = self._graph.checkpointer
        if not (self._lasting and waiting.questions and isinstance(saver, BaseCheckpointSaver)):
            return {}
        snapshot = await self._graph.aget_state(self._config, subgraphs=True)
        rounds = {
            asker.question: answered(asker, await saver.aget_tuple(asker.checkpoint))
            for asker in askers(snapshot)
        }
        if ONE_ID and (rest := waiting.questions.keys() - rounds.keys()):
            search = Search(rest)
            async for saved in saver.alist(self._config):
                search.take(saved)
            rounds |= search.rounds()
        return rounds

    def _rounds_sync(self, waiting: Pending) -> dict[str, int]:
        saver = self._graph.checkpointer
        if not (self._lasting and waiting.questions and isinstance(saver, BaseCheckpointSaver)):
            return {}
        snapshot = self._graph.get_state(self._config, subgraphs=True)
        rounds = {
            asker.question: answered(asker, saver.get_tuple(asker.checkpoint))
            for asker in askers(snapshot)
        }
        if ONE_ID and (rest := waiting.questions.keys() - rounds.keys()):
            search = Search(rest)
            for saved in saver.list(self._config):
                search.take(saved)
            rounds |= search.rounds()
        return rounds

    async def _start_over(self, waiting: Pending) -> None:
        """The interrupted tasks run again from their first line: what they did before is answered
        from the journal, not repeated."""
        if waiting.questions:
            for branch in sorted(set(waiting.branches.values())):
                await self._attempt.again(branch)
                self._stream.settled(branch)

    def _output(self, snapshot: StateSnapshot) -> Any:
        keys = self._graph.output_channels
        if isinstance(keys, str):
            return snapshot.values
        return {key: snapshot.values[key] for key in keys if key in snapshot.values}

    def _result(self) -> Any:
        lost: list[str] = []
        result = plain(self._latest, lost)
        if lost:
            message = f"The result holds what JSON cannot: {', '.join(lost)}."
            attempt = self._attempt
            attempt.loop.call_soon_threadsafe(attempt.pen.warn, "unserializable", message)
        return result
