"""Which feature of the product a piece of agent code serves: a label that costs are counted by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

MAX_LENGTH = 200

current_feature: ContextVar[str] = ContextVar("perdure_feature", default="")


@contextmanager
def feature(name: str) -> Iterator[None]:
    """Model calls within it are charged to feature ``name``, also those of tasks and threads that
    begin in it. Without it a run's label ``feature`` counts. Raises ValueError for a name that is
    empty or longer than 200 characters."""
    if not name or len(name) > MAX_LENGTH:
        raise ValueError(f"a feature's name has 1 to {MAX_LENGTH} characters, not {len(name)}")
    token = current_feature.set(name)
    try:
        yield
    finally:
        current_feature.reset(token)
