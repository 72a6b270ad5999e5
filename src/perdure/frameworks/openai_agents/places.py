"""Where code of the Agents SDK stands, as names that are the same in every attempt (rule K3).

The SDK runs tools, guardrails, first turns and streamed runs in tasks of their own, and others when
it goes on after an approval. Told apart by who comes first they could change places, so each enters
a branch with a name that begins where its run began: a tool call its id, a guardrail its name, a
streamed or synchronous run its number.
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

# The path of the branch in which the run of the calling code began.
_base: ContextVar[str | None] = ContextVar("perdure_openai_agents_base", default=None)

_rounds: WeakKeyDictionary[Place, int] = WeakKeyDictionary()


@contextmanager
def within(name: str) -> Iterator[None]:
    """The code inside is the branch ``name`` of the run that it belongs to. Where another framework
    names the branches, its names stand."""
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
    base = _base.get()
    path = child(place.path if base is None else base, _quoted(name))
    named = place.attempt.named_place(path, place)
    named.owner = None  # whichever task comes now: a call is made again after an approval
    token = current_boundary.set(named)
    try:
        yield
    finally:
        current_boundary.reset(token)


@contextmanager
def run_of(form: str | None, *, resumed: bool) -> Iterator[None]:
    """The code inside is a run of the SDK's. One that it gives a task of its own (``form`` says
    how) is a round at the caller's place: the second begins when the first is over (see
    ``core.branch``). One that is ``resumed`` after an approval goes on with the last round, so that
    the calls it makes again have the names they had."""
    place = cast("Place | None", current_boundary.get())
    if place is None:
        yield
        return
    place = place.here()
    token = _base.set(None)
    try:
        if form is None:
            _base.set(place.path)
            yield
            return
        number = _rounds.get(place, -1)
        if not resumed or number < 0:
            number += 1
        _rounds[place] = number
        with within(f"{form}#{number}"):
            _base.set(cast("Place", current_boundary.get()).path)
            yield
    finally:
        _base.reset(token)


def _quoted(name: str) -> str:
    """As one component of a path; no bare number (those mean siblings told apart by arrival)."""
    for char, code in (("%", "%25"), ("/", "%2F")):
        name = name.replace(char, code)
    return f"{name}." if name.isdigit() else name
