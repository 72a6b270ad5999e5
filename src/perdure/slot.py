"""Methods of other people's classes that are replaced while it is wanted, also among others who
replace the same ones (T1).

Invariants: of what a slot put in, one replacement at the most is at work; whatever else of it is
still held by somebody's wrapper calls what it replaced.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

Make = Callable[[Callable[..., Any]], Callable[..., Any]]


class Slot:
    """One method of a class, or function of a module. ``make`` gets the present one and returns
    what takes its place; of a class or static method, the function inside."""

    def __init__(self, holder: Any, name: str, make: Make) -> None:
        self.holder = holder
        self.name = name
        self._make = make
        self._original: Any = None
        self._mine: Any = None
        self._at_work: Any = None

    def fill(self) -> None:
        """Puts the replacement in, unless it is still there."""
        current = vars(self.holder)[self.name]
        if self._mine is None or not self._within(current):
            self._original = current
            self._put(current)
        self._at_work = self._mine

    def clear(self) -> None:
        """Takes it out, if it is outermost; else it only does nothing where it stands."""
        self._at_work = None
        current = vars(self.holder)[self.name]
        if self._mine is not None and _function(current) is self._mine:
            setattr(self.holder, self.name, self._original)
            self._mine = self._original = None

    def _put(self, current: Any) -> None:
        if isinstance(current, classmethod | staticmethod):
            self._mine = self._around(current.__func__)
            setattr(self.holder, self.name, type(current)(self._mine))
        else:
            # As the class gives it, not as it holds it: wrapt's wrappers only so know what is self.
            self._mine = self._around(getattr(self.holder, self.name))
            setattr(self.holder, self.name, self._mine)

    def _around(self, original: Callable[..., Any]) -> Callable[..., Any]:
        made = self._make(original)

        @functools.wraps(original)
        def replacement(*args: Any, **kwargs: Any) -> Any:
            return (made if self._at_work is replacement else original)(*args, **kwargs)

        @functools.wraps(original)
        async def replacement_async(*args: Any, **kwargs: Any) -> Any:
            function = made if self._at_work is replacement_async else original
            return await function(*args, **kwargs)

        return replacement_async if inspect.iscoroutinefunction(made) else replacement

    def _within(self, method: Any) -> bool:
        while method is not None:
            if method is self._mine:
                return True
            method = getattr(method, "__wrapped__", None)
        return False


class Slots:
    """Several that are filled and cleared together, from any thread."""

    def __init__(self, *slots: Slot) -> None:
        self._slots = {(slot.holder, slot.name): slot for slot in slots}
        self._filled = False
        self._lock = threading.Lock()

    def add(self, holder: Any, name: str, make: Make) -> None:
        """One more, if it is not among them; it is filled while they are."""
        with self._lock:
            slot = self._slots.setdefault((holder, name), Slot(holder, name, make))
            if self._filled:
                slot.fill()

    def fill(self) -> None:
        """Puts the replacements in. May be called often: what somebody took out is put in again."""
        with self._lock:
            self._filled = True
            for slot in self._slots.values():
                slot.fill()

    def filled(self) -> bool:
        """Whether they are wanted now."""
        return self._filled

    def clear(self) -> None:
        """Takes them out."""
        with self._lock:
            self._filled = False
            for slot in self._slots.values():
                slot.clear()


def _function(method: Any) -> Any:
    return method.__func__ if isinstance(method, classmethod | staticmethod) else method
