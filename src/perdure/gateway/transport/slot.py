"""A method of a class that is replaced while wanted, also among others who do the same."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


class Slot:
    """``make`` gets the present method and returns what takes its place."""

    def __init__(self, cls: type, name: str, make: Callable[[Any], Callable[..., Any]]) -> None:
        self._cls = cls
        self._name = name
        self._make = make
        self._original: Any = None
        self._mine: Any = None

    def fill(self) -> None:
        """Puts the replacement in, unless it is still there."""
        current = getattr(self._cls, self._name)
        if self._mine is not None and self._within(current):
            return
        self._original = current
        self._mine = functools.wraps(current)(self._make(current))
        setattr(self._cls, self._name, self._mine)

    def clear(self) -> None:
        """Takes it out, if it is outermost; else it is only forgotten where it stands."""
        if getattr(self._cls, self._name) is self._mine:
            setattr(self._cls, self._name, self._original)
            self._mine = self._original = None

    def _within(self, method: Any) -> bool:
        while method is not None:
            if method is self._mine:
                return True
            method = getattr(method, "__wrapped__", None)
        return False
