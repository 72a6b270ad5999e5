"""Stable names for the branches of frameworks that name their parallel work themselves (rule K3).

A tool call has an id that is in the model's recorded answer, so it is the same in every attempt,
whichever of several parallel calls comes first. ``branch`` says which the calling code is in;
``here`` is the agent's ``namer``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_branch: ContextVar[str | None] = ContextVar("perdure_branch", default=None)


@contextmanager
def branch(name: str) -> Iterator[str]:
    """The code inside is the branch ``name`` of the branch around it; gives the whole path. A
    slash in ``name`` is no level of its own."""
    around = _branch.get()
    own = name.replace("/", "|")
    path = own if around is None else f"{around}/{own}"
    token = _branch.set(path)
    try:
        yield path
    finally:
        _branch.reset(token)


def here() -> str | None:
    """The path of the calling code's branch; None where no framework named it."""
    return _branch.get()
