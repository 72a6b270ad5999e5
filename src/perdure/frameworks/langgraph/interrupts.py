"""``interrupt()`` as a durable wait.

Each interrupt becomes an event ``interrupt`` with an id and the value the node handed over, and
waits for a signal ``resume:<id>`` or ``resume`` whose payload is the resume value. The run parks
meanwhile. With a checkpointer of the user's own the id is LangGraph's; else it is made of the
task's place and the value, so that it is the same in every attempt. Where LangGraph's id is that
of an earlier question of the same task, the number of the task's answers is added.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from langgraph.pregel import Pregel
from langgraph.types import StateSnapshot

from perdure.codec import canonical
from perdure.core.digest import digest
from perdure.core.record import Kind
from perdure.frameworks.langgraph.places import part
from perdure.frameworks.langgraph.shapes import plain
from perdure.frameworks.questions import EVENTS, Question, answer, tell
from perdure.runtime.place import Place

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt


@dataclass(frozen=True, slots=True)
class Pending:
    """An interrupted graph: its questions by LangGraph's ids, and the tasks that start over. No
    questions: a breakpoint (``interrupt_before``), which any ``resume`` passes."""

    questions: dict[str, Any]
    branches: dict[str, str]  # question -> the place of its outermost task
    nodes: dict[str, str]


def is_over(snapshot: StateSnapshot) -> bool:
    """Whether a graph has run to its end. A task that asks a second time is no ``next`` one before
    LangGraph 1.2.17."""
    return not snapshot.next and not any(task.interrupts for task in snapshot.tasks)


def pending(snapshot: StateSnapshot) -> Pending | None:
    """What a graph that stopped is waiting for; None where it has run to its end."""
    if is_over(snapshot):
        return None
    step = (snapshot.metadata or {}).get("step", -2) + 1
    questions: dict[str, Any] = {}
    branches: dict[str, str] = {}
    nodes: dict[str, str] = {}
    for task in snapshot.tasks:
        for found in task.interrupts:
            questions[found.id] = found.value
            branches[found.id] = part(step, task.name, task.path)
            nodes[found.id] = task.name
    if not questions:
        place = "|".join(snapshot.next)
        return Pending({}, {"": f"breakpoint#{step}"}, {"": place})
    return Pending(questions, branches, nodes)


def breakpoint_at(graph: Pregel[Any, Any, Any, Any], snapshot: StateSnapshot) -> bool:
    """Whether the graph's own ``interrupt_before`` stops it where it stands."""
    before = graph.interrupt_before_nodes
    return before == "*" or any(node in before for node in snapshot.next)


class Interrupts:
    """The questions of one attempt. ``lasting``: LangGraph's ids outlive the attempt."""

    def __init__(self, attempt: Attempt, *, lasting: bool) -> None:
        self._attempt = attempt
        self._lasting = lasting
        self._asked: Counter[str] = Counter()

    async def answers(
        self, found: Pending, place: Place, rounds: Mapping[str, int], *, foreign: bool
    ) -> dict[str, Any]:
        """The resume value of every question, by LangGraph's id. ``rounds``: how many answers the
        tasks of those questions have had that may not be the first of their id. ``foreign``: a
        thread waits."""
        if not found.questions:
            await self._ask(place, foreign, self._id("", found.branches[""], None), None, "", True)
            return {}
        asked = {
            key: (self._id(key, found.branches[key], value, rounds.get(key, 0)), value)
            for key, value in found.questions.items()
        }
        # In an order that is the same in every attempt, whichever task came first.
        keys = sorted(asked, key=lambda key: asked[key][0])
        if len(keys) == 1:
            (key,) = keys
            return {key: await self._ask(place, foreign, *asked[key], found.nodes[key])}
        waits = [
            asyncio.ensure_future(self._in_turn(place, foreign, *asked[key], found.nodes[key]))
            for key in keys
        ]
        try:
            return dict(zip(keys, await asyncio.gather(*waits), strict=True))
        finally:
            for wait in waits:
                wait.cancel()

    def were_asked(self, found: Pending) -> bool:
        """Whether an earlier attempt asked to pass this breakpoint."""
        name = digest(_name(found.branches[""], None).encode())
        return any(
            entry.kind == Kind.EMIT and entry.name == "interrupt" and entry.digest == name
            for entry in self._attempt.journal.unread()
        )

    def _id(self, key: str, branch: str, value: Any, round: int = 0) -> str:
        if self._lasting and key:
            return f"{key}.{round}" if round else key
        name = _name(branch, value)
        self._asked[name] += 1
        return name if self._asked[name] == 1 else _name(f"{name}#{self._asked[name]}", value)

    async def _in_turn(self, place: Place, foreign: bool, name: str, value: Any, node: str) -> Any:
        return await self._ask(place.fork(asyncio.current_task()), foreign, name, value, node)

    async def _ask(
        self, place: Place, foreign: bool, name: str, value: Any, node: str, stop: bool = False
    ) -> Any:
        about = {"node": node, "value": plain(value)}
        if stop:
            about["breakpoint"] = True
        tell(self._attempt.named_place(EVENTS), Question(name, about))
        answered, _ = await answer(place, name, foreign=foreign)
        return answered


def _name(branch: str, value: Any) -> str:
    content = f"{branch}\0".encode() + canonical(plain(value))
    return blake2b(content, digest_size=16).hexdigest()
