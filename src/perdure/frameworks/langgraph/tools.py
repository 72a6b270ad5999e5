"""Tool calls of LangChain tools become effects where the tool's own body runs.

Process-wide patch, documented in docs/decisions/0004-langchain-tool-patch.md: ``BaseTool.run``
and ``arun`` note what is asked, and the body (``_run``, ``_arun`` of the tool's class) is
performed as an effect. Argument validation, callbacks and ``handle_tool_error`` stay outside the
effect and run again at each replay, as LangChain has them; the body does not. Outside a run
nothing changes, and ``uninstall`` takes the patch out.

Invariants: one call of a tool is one effect, however LangChain nests its methods for it
(``ainvoke`` to ``arun`` to a thread that calls ``_run``); the digest is of what was asked,
without what is injected (state, store, runtime, config, callbacks, the call's id).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, cast
from weakref import WeakKeyDictionary

from langchain_core.tools import BaseTool
from langgraph.errors import GraphBubbleUp

from perdure.codec import canonical
from perdure.core.digest import digest
from perdure.core.ports import current_boundary
from perdure.core.record import Kind
from perdure.errors import BoundaryError
from perdure.frameworks.langgraph.places import Asked, asked
from perdure.frameworks.langgraph.values import ToolValues
from perdure.frameworks.promises import asked_about, hinted, promised
from perdure.frameworks.results import returned_by
from perdure.runtime.call import Call
from perdure.runtime.closing import Ending
from perdure.runtime.declared import Declared
from perdure.runtime.performing import perform, perform_blocking
from perdure.runtime.place import Place
from perdure.slot import Slot, Slots

_annotations: WeakKeyDictionary[Callable[..., Any], Any] = WeakKeyDictionary()


def install() -> None:
    """Catch the tool calls of runs from now on. May be called often."""
    _slots.fill()
    cover(BaseTool)


def cover(cls: type) -> None:
    """Make the bodies of tools of this class effects. Done for every class that is called."""
    for base in cls.__mro__:
        if issubclass(base, BaseTool):
            for name, around in (("_run", _body), ("_arun", _body_async)):
                method = base.__dict__.get(name)
                abstract = getattr(method, "__isabstractmethod__", False)
                if inspect.isfunction(method) and not abstract:
                    _slots.add(base, name, around)


# -- what is asked --------------------------------------------------------------------------------


def _asking(original: Callable[..., Any]) -> Callable[..., Any]:
    def run(self: BaseTool, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        if current_boundary.get() is None:
            return original(self, tool_input, *args, **kwargs)
        cover(type(self))
        token = asked.set(_asked(self, tool_input, kwargs.get("tool_call_id")))
        try:
            return original(self, tool_input, *args, **kwargs)
        finally:
            asked.reset(token)

    return run


def _asking_async(original: Callable[..., Any]) -> Callable[..., Any]:
    async def arun(self: BaseTool, tool_input: Any, *args: Any, **kwargs: Any) -> Any:
        if current_boundary.get() is None:
            return await original(self, tool_input, *args, **kwargs)
        cover(type(self))
        token = asked.set(_asked(self, tool_input, kwargs.get("tool_call_id")))
        try:
            return await original(self, tool_input, *args, **kwargs)
        finally:
            asked.reset(token)

    return arun


def _asked(tool: BaseTool, tool_input: Any, call_id: str | None) -> Asked:
    content = tool_input
    if isinstance(tool_input, dict):
        content = tool._filter_injected_args(tool_input)
    around = asked.get()
    # A tool whose body calls the same again (``_arun`` that runs ``run``) is still one call.
    same = around is not None and around.inside and around.tool is tool
    if same and around is not None and canonical(around.content) == canonical(content):
        return around
    return Asked(tool, content, call_id, inside=False)


# -- the body -------------------------------------------------------------------------------------


def _body(original: Callable[..., Any]) -> Callable[..., Any]:
    def _run(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        place, call = current_boundary.get(), _begun(self, args, kwargs)
        if place is None or call is None:
            return original(self, *args, **kwargs)

        def body(*args: Any, **kwargs: Any) -> Any:
            token = asked.set(call.entered())
            try:
                return original(self, *args, **kwargs)
            finally:
                asked.reset(token)

        here = cast("Place", place)
        _refuse_loop_thread(here, self)
        token = asked.set(call)
        try:
            return perform_blocking(here, _effect(here, call, body, args, kwargs))
        finally:
            asked.reset(token)

    return _run


def _body_async(original: Callable[..., Any]) -> Callable[..., Any]:
    async def _arun(self: BaseTool, *args: Any, **kwargs: Any) -> Any:
        place, call = current_boundary.get(), _begun(self, args, kwargs)
        if place is None or call is None:
            return await original(self, *args, **kwargs)

        async def body(*args: Any, **kwargs: Any) -> Any:
            token = asked.set(call.entered())
            try:
                return await original(self, *args, **kwargs)
            finally:
                asked.reset(token)

        here = cast("Place", place)
        token = asked.set(call)
        try:
            return await perform(here, _effect(here, call, body, args, kwargs))
        finally:
            asked.reset(token)

    return _arun


def _refuse_loop_thread(place: Place, tool: BaseTool) -> None:
    """Ends the attempt, since a node that makes messages of its tools' errors would go on."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    error = BoundaryError(
        f"The tool {tool.name!r} was called synchronously on the event loop, where waiting for the "
        "journal would stop every run.",
        hint=f"In async code: await {tool.name}.ainvoke(...); or make the node a plain def.",
    )
    place.attempt.closing.close(Ending.FAIL, error=error)
    raise error


def _begun(tool: BaseTool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Asked | None:
    """The call that this body answers; None where it is part of an effect already."""
    call = asked.get()
    if call is not None and call.tool is tool:
        return None if call.inside or _is_effect_itself(tool) else call
    if _is_effect_itself(tool):
        return None
    public = _public(tool, kwargs)
    return Asked(tool, [list(args), public] if args else public, None, inside=False)


def _is_effect_itself(tool: BaseTool) -> bool:
    """A function that is a ``@perdure.tool`` or ``@perdure.step`` already."""
    return any(hasattr(f, "__perdure__") for f in _functions(tool))


def _functions(tool: BaseTool) -> list[Callable[..., Any]]:
    found = [getattr(tool, name, None) for name in ("coroutine", "func")]
    return [f for f in found if f is not None]


def _effect(
    place: Place,
    call: Asked,
    body: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Call:
    tool = cast("BaseTool", call.tool)
    return Call(
        _declared(place, tool, args, kwargs),
        body,
        args,
        kwargs,
        ToolValues(
            tool.name,
            _returns(tool),
            called=call.call_id is not None,
            pair=tool.response_format == "content_and_artifact",
        ),
        digest(canonical(call.content)),
        control=(GraphBubbleUp,),
        arguments=lambda: call.content,
        call_id=call.call_id,
    )


def _declared(
    place: Place, tool: BaseTool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Declared:
    said = promised(place, tool.name)
    if said is None:
        return Declared(Kind.TOOL, tool.name, hinted(tool.metadata))
    if said.reconcile is None:
        return said
    # It is asked about what the model asked for, not about callbacks and configs.
    return asked_about(said, *args, kwargs=_public(tool, kwargs))


def _public(tool: BaseTool, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments without what is injected."""
    public = tool._filter_injected_args(kwargs)
    if "config" not in tool.args:
        public.pop("config", None)
    return public


def _returns(tool: BaseTool) -> Any:
    functions = _functions(tool)
    if not functions:
        overridden = type(tool)._arun is not BaseTool._arun
        functions = [type(tool)._arun if overridden else type(tool)._run]
    function = functions[0]
    try:
        if function not in _annotations:
            _annotations[function] = returned_by(function)
        return _annotations[function]
    except TypeError:  # a callable object that cannot be referred to weakly
        return returned_by(function)


_slots = Slots(Slot(BaseTool, "run", _asking), Slot(BaseTool, "arun", _asking_async))
# Whether tool calls are caught, and leaving tools what LangChain made them, in runs too.
installed, uninstall = _slots.filled, _slots.clear
