"""Where code stands in a graph, as a name that is the same in every attempt (rule K3).

LangGraph's own name of a running task is its checkpoint namespace, a list of tasks from the
outermost graph inwards, with ids that change. :class:`Places` notes of each task, when it starts,
its superstep and its path, and so can say ``graph#3/research/graph#1/search`` for the task
``search`` in the first superstep of the graph that ``research`` runs in superstep 3. In
``graph#3`` the number is a round in the sense of ``core.branch``: superstep 4 begins when
superstep 3 is over.

In a tool call the call's id comes last. Inside a tool's body, which is a scope of its own, names
are relative to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables.config import var_child_runnable_config

from perdure.errors import Parked

SEPARATOR = "|"  # between the tasks of a checkpoint namespace
ID = ":"  # between a task's name and its id
PUSH = "__pregel_push"  # the path of a task that a Send or a call made


class Places(BaseCallbackHandler):
    """The tasks of one attempt's graphs. As a callback it is told of each when it starts."""

    run_inline = True  # a place is asked for from within the task that has just started

    def __init__(self, void: Callable[[], bool] = lambda: False) -> None:
        """``void()``: the attempt is being unwound, and no further task may start."""
        self._void = void
        self._parts: dict[str, str] = {}  # namespace of a task -> its part of a name

    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: dict[str, Any],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if self._void():
            raise Parked("the attempt is over")  # e.g. out of a node that handles others' errors
        if metadata is not None:
            self.note(metadata)

    def note(self, metadata: Mapping[str, Any]) -> None:
        """Learn a task from the metadata that LangGraph gives it."""
        namespace = metadata.get("langgraph_checkpoint_ns")
        if isinstance(namespace, str) and namespace and namespace not in self._parts:
            name = namespace.rpartition(SEPARATOR)[2].partition(ID)[0]
            self._parts[namespace] = part(
                metadata.get("langgraph_step"), name, metadata.get("langgraph_path") or ()
            )

    def name(self, namespace: str, below: str = "", numbers: dict[str, int] | None = None) -> str:
        """The stable name of the task with this checkpoint namespace; of the part of it that is
        below the namespace ``below``. ``numbers`` counts anew which graph of a task is meant."""
        so_far = ""
        parts: list[str] = []
        for segment in namespace.split(SEPARATOR):
            so_far = f"{so_far}{SEPARATOR}{segment}" if so_far else segment
            if below and len(so_far) <= len(below):
                continue
            first = not parts
            if segment.isdigit():  # the task's second, third, ... graph
                number = segment
                if first and numbers is not None:
                    number = str(numbers.setdefault(segment, len(numbers)))
                if number != "0":
                    parts.append(number)
                continue
            if first and numbers is not None and "0" not in numbers:
                numbers["0"] = len(numbers)
            parts.append(self._parts.get(so_far) or _quote(segment.partition(ID)[0]))
        return "/".join(parts)


def part(step: object, name: str, path: object) -> str:
    """One task's part of a name: its superstep, and its node; with an index where the node runs
    several times in a superstep."""
    label = _quote(name)
    if isinstance(path, list | tuple) and len(path) > 2 and path[0] == PUSH:
        label = f"{label}.{path[1] if isinstance(path[1], int) else path[2]}"
    return f"graph#{step}/{label}"


def _quote(name: str) -> str:
    """``name`` as a component of a branch: no separators, and no bare number (those mean siblings
    told apart by arrival)."""
    for char, code in (("%", "%25"), ("/", "%2F"), ("#", "%23")):
        name = name.replace(char, code)
    return f"{name}." if name.isdigit() else name


class Asked:
    """A tool that is being called. ``inside``: by code in its own body, which is a scope."""

    __slots__ = ("call_id", "content", "inside", "namespace", "numbers", "tool")

    def __init__(self, tool: Any, content: Any, call_id: str | None, *, inside: bool) -> None:
        self.tool = tool
        self.content = content  # what was asked, without what is injected
        self.call_id = call_id
        self.inside = inside
        self.namespace = namespace()
        self.numbers: dict[str, int] = {}

    def entered(self) -> Asked:
        """The same for code in the tool's body."""
        return Asked(self.tool, self.content, self.call_id, inside=True)


places: ContextVar[Places | None] = ContextVar("perdure_langgraph_places", default=None)
asked: ContextVar[Asked | None] = ContextVar("perdure_langgraph_asked", default=None)


def namespace() -> str:
    """The checkpoint namespace of the calling code; empty outside a task."""
    config = var_child_runnable_config.get()
    if config is None:
        return ""
    found = config.get("configurable", {}).get("checkpoint_ns")
    return found if isinstance(found, str) else ""


def here() -> str | None:
    """The stable name of the calling code's place (``Agent.namer``)."""
    known, call, now = places.get(), asked.get(), namespace()
    if call is not None and call.inside:
        base = call.namespace
        if now == base:
            return None  # in the tool's body itself: a task of its own as far as names go
        if known is not None and now.startswith(base + SEPARATOR):
            return known.name(now, base, call.numbers)
    name = known.name(now) if known is not None and now else None
    if call is not None and not call.inside and call.call_id and call.namespace == now:
        call_id = _quote(call.call_id)
        return f"{name}/{call_id}" if name else call_id
    return name
