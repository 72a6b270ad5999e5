"""The files that a process was loaded from, and what changed in them.

Watched by looking: a few dozen ``stat`` calls now and then cost nothing, work on every system and
on shared folders, and need no library. What counts is the content: a file that was only touched
did not change.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from perdure.cli.dev.contacts import nearby

_LIBRARIES = tuple(
    os.path.realpath(sysconfig.get_path(name)) + os.sep
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_OWN = os.path.realpath(Path(__file__).parent.parent.parent) + os.sep
COMPARED = 256 * 1024  # bytes of a file whose lines are compared


def loaded() -> list[str]:
    """The files of the modules here that are neither Python's, nor installed, nor Perdure's."""
    found = set()
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py"):
            path = os.path.realpath(file)
            if not path.startswith((*_LIBRARIES, _OWN)):
                found.add(path)
    return sorted(found)


@dataclass(frozen=True, slots=True)
class Change:
    """``what`` is "changed", "new" or "gone"."""

    path: str
    what: str
    added: int = 0
    removed: int = 0

    def __str__(self) -> str:
        counts = f" (+{self.added} −{self.removed})" if self.added or self.removed else ""
        return f"{nearby(self.path)} {self.what}{counts}"


class Files:
    """What is watched: ``follow`` files, then ``look`` now and then."""

    def __init__(self) -> None:
        self._followed: set[str] = set()
        self._marks: dict[str, tuple[int, int] | None] = {}
        self._texts: dict[str, bytes | None] = {}

    def follow(self, paths: Iterable[str]) -> None:
        """Watch these as well, from how they are now on."""
        for path in set(paths) - self._followed:
            self._followed.add(path)
            for one in (path, *self._beside(path)):
                if one not in self._marks:
                    self._marks[one], self._texts[one] = _mark(one), _read(one)

    def look(self, *, wide: bool = False) -> list[Change]:
        """What changed since the last look. ``wide``: other Python files in the same folders count
        as well; an import that failed may have been meant for one of them."""
        paths = set(self._followed)
        if wide:
            paths.update(one for path in self._followed for one in self._beside(path))
        found = []
        for path in sorted(paths):
            mark = _mark(path)
            if path in self._marks and self._marks[path] == mark:
                continue
            before, now = self._texts.get(path), _read(path)
            self._marks[path], self._texts[path] = mark, now
            if before != now:
                found.append(_change(path, before, now))
        return found

    @staticmethod
    def _beside(path: str) -> list[str]:
        return _python_files(os.path.dirname(path)) if path.endswith(".py") else []


def _python_files(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [
                entry.path
                for entry in entries
                # Editors save into hidden files first.
                if entry.name.endswith(".py") and not entry.name.startswith((".", "#"))
            ]
    except OSError:
        return []


def _mark(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _read(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


def _change(path: str, before: bytes | None, now: bytes | None) -> Change:
    if before is None or now is None:
        return Change(path, "new" if before is None else "gone")
    if max(len(before), len(now)) > COMPARED:
        return Change(path, "changed")
    added = removed = 0
    old, new = before.splitlines(), now.splitlines()
    for tag, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            removed, added = removed + b - a, added + d - c
    return Change(path, "changed", added, removed)
