"""What a piece of agent code says of its model calls: which feature of the product they serve, and
how difficult the question is. Costs are counted and routes are chosen by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

MAX_LENGTH = 200

current_feature: ContextVar[str] = ContextVar("perdure_feature", default="")
current_difficulty: ContextVar[str] = ContextVar("perdure_difficulty", default="")


@contextmanager
def feature(name: str) -> Iterator[None]:
    """Model calls within it are charged to feature ``name``, also those of tasks and threads that
    begin in it. Without it a run's label ``feature`` counts. Raises ValueError for a name that is
    empty or longer than 200 characters."""
    yield from _said(current_feature, name)


@contextmanager
def difficulty(name: str) -> Iterator[None]:
    """Model calls within it are as difficult as ``name`` says, in words of one's own that routes
    know (``[[routes]] difficulty``). Without it a run's label ``difficulty`` counts. Raises
    ValueError as ``feature`` does."""
    yield from _said(current_difficulty, name)


def _said(label: ContextVar[str], name: str) -> Iterator[None]:
    if not name or len(name) > MAX_LENGTH:
        raise ValueError(f"a label has 1 to {MAX_LENGTH} characters, not {len(name)}")
    token = label.set(name)
    try:
        yield
    finally:
        label.reset(token)
