"""Where code of the Agents SDK stands, as names that are the same in every attempt (rule K3).

The SDK runs tools, guardrails and streamed runs in tasks of their own. Told apart by who comes
first they could change places, so each enters a branch with a name: a tool call its id, a guardrail
its name, a streamed run its number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast
from weakref import WeakKeyDictionary

from perdure.core.branch import child
from perdure.core.ports import current_boundary
from perdure.frameworks import branches
from perdure.runtime.place import Place

# The tool calls around the calling code, outermost first: ids that are in the journal too.
calls: ContextVar[tuple[str, ...]] = ContextVar("perdure_openai_agents_calls", default=())

_streamed: WeakKeyDictionary[Place, int] = WeakKeyDictionary()


@contextmanager
def within(name: str) -> Iterator[None]:
    """The code inside is the branch ``name`` of the calling code's. Where another framework names
    the branches, its names stand."""
    place = cast("Place | None", current_boundary.get())
    if place is None:
        yield
        return
    namer = place.attempt.namer
    if namer is branches.here:
        with branches.branch(name):
            yield
        return
    if namer is not None:
        yield
        return
    named = place.attempt.named_place(child(place.path, _quoted(name)), place)
    token = current_boundary.set(named)
    try:
        yield
    finally:
        current_boundary.reset(token)


@contextmanager
def streamed() -> Iterator[None]:
    """A streamed run, which the SDK gives a task of its own, is a round at its place: the second
    begins when the first is over (see ``core.branch``)."""
    place = cast("Place | None", current_boundary.get())
    if place is None:
        yield
        return
    number = _streamed.get(place, 0)
    _streamed[place] = number + 1
    with within(f"streamed#{number}"):
        yield


def _quoted(name: str) -> str:
    """As one component of a path; no bare number (those mean siblings told apart by arrival)."""
    for char, code in (("%", "%25"), ("/", "%2F")):
        name = name.replace(char, code)
    return f"{name}." if name.isdigit() else name
