"""What a compiled graph is made of, as far as it can be seen without running it: its tools, so
that a promise for a tool that does not exist is an error at start, and whether it works
asynchronously.

Graphs are ordinary Python: nodes are functions whose tools may be in a closure, a global, an
object. The search follows those, and finds what a person would find by reading the node's code; a
tool that is made at run time is not found.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.prebuilt import ToolNode
from langgraph.pregel import Pregel

MAX_OBJECTS = 20_000
MAX_DEPTH = 12
_OURS = ("langchain", "langgraph", "perdure")


def tools(graph: Pregel[Any, Any, Any, Any]) -> dict[str, BaseTool]:
    """The tools that the graph's code holds, by name."""
    return {found.name: found for found in _search(graph) if isinstance(found, BaseTool)}


def only_sync(graph: Pregel[Any, Any, Any, Any]) -> str | None:
    """Why the graph cannot be run asynchronously, or None: its checkpointer or a middleware has
    no asynchronous form, and refuses."""
    saver = graph.checkpointer
    if isinstance(saver, BaseCheckpointSaver) and _refuses_async(saver):
        return f"its checkpointer {type(saver).__name__} is synchronous"
    for found in _search(graph):
        if isinstance(found, ToolNode):
            if found._wrap_tool_call is not None and found._awrap_tool_call is None:
                return "its ToolNode has a synchronous wrap_tool_call only"
        elif reason := _sync_middleware(found):
            return reason
    return None


def _refuses_async(saver: BaseCheckpointSaver[Any]) -> bool:
    """A synchronous saver inherits the method, or overrides it only to raise with a hint."""
    method = type(saver).aget_tuple
    code = getattr(method, "__code__", None)
    if method is BaseCheckpointSaver.aget_tuple:
        return True
    return code is not None and "NotImplementedError" in code.co_names


def _sync_middleware(found: Any) -> str | None:
    for base in type(found).__mro__:
        if base.__module__ == "langchain.agents.middleware.types" and (
            base.__name__ == "AgentMiddleware"
        ):
            for hook in ("wrap_model_call", "wrap_tool_call"):
                own = getattr(type(found), hook) is not getattr(base, hook)
                own_async = getattr(type(found), f"a{hook}") is not getattr(base, f"a{hook}")
                if own and not own_async:
                    return f"its middleware {found.name} has a synchronous {hook} only"
    return None


def _search(graph: Pregel[Any, Any, Any, Any]) -> Iterator[Any]:
    """Every object that may matter, each once."""
    seen: set[int] = set()
    waiting: list[tuple[Any, int]] = [(graph, 0)]
    while waiting and len(seen) < MAX_OBJECTS:
        found, depth = waiting.pop()
        if id(found) in seen or found is None or isinstance(found, str | bytes | int | float):
            continue
        seen.add(id(found))
        yield found
        if depth < MAX_DEPTH:
            waiting.extend((inner, depth + 1) for inner in _inside(found))


def _inside(found: Any) -> Iterator[Any]:
    if isinstance(found, dict):
        yield from found.values()
    elif isinstance(found, list | tuple | set | frozenset):
        yield from found
    elif isinstance(found, functools.partial):
        yield from (found.func, *found.args, *found.keywords.values())
    elif inspect.ismethod(found):
        yield from (found.__self__, found.__func__)
    elif inspect.isfunction(found):
        yield from _used_by(found)
    elif isinstance(found, type) or inspect.ismodule(found):
        return
    elif isinstance(found, Pregel):
        yield found.nodes
    elif isinstance(found, ToolNode):
        yield from (found.tools_by_name, found._wrap_tool_call, found._awrap_tool_call)
    elif isinstance(found, BaseTool):
        yield from (getattr(found, "func", None), getattr(found, "coroutine", None))
    elif isinstance(found, Runnable) or _is_theirs(found):
        yield from list(getattr(found, "__dict__", {}).values())
        yield from _slots(found)


def _is_theirs(found: Any) -> bool:
    """Objects whose attributes are worth a look: a framework's own, and what users' nodes are
    methods of."""
    module = type(found).__module__.partition(".")[0]
    if module in ("builtins", "asyncio", "threading", "logging", "re", "collections"):
        return False
    return (
        any(module.startswith(name) for name in _OURS) or callable(found) or hasattr(found, "tools")
    )


def _slots(found: Any) -> Iterator[Any]:
    for cls in type(found).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            yield getattr(found, name, None)


def _used_by(function: Callable[..., Any]) -> Iterator[Any]:
    """What a function's code refers to: its closure, defaults, and the globals that it names."""
    yield getattr(function, "__wrapped__", None)
    for cell in getattr(function, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not yet filled
            continue
    yield from getattr(function, "__defaults__", None) or ()
    code = getattr(function, "__code__", None)
    names = getattr(function, "__globals__", {})
    if code is not None and not str(names.get("__name__", "")).startswith(_OURS):
        for name in _names(code):
            yield names.get(name)


def _names(code: Any) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if inspect.iscode(constant):
            yield from _names(constant)
