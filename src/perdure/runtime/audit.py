"""Reports what agent code does to the outside without an effect around it (rule C9).

Whatever plain code does outside an effect runs again at each replay. This installs one audit hook
(PEP 578) that watches sockets, subprocesses and files opened for writing in the agent's own code,
and tells of each line once. Audit hooks cannot be removed; a stopped one returns at once.
"""

from __future__ import annotations

import logging
import os
import sys
import sysconfig
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

from perdure.core.ports import current_boundary

log = logging.getLogger("perdure.audit")

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC
_KINDS = {
    "socket.connect": "opens a connection",
    "subprocess.Popen": "starts a process",
    "os.system": "starts a process",
    "os.posix_spawn": "starts a process",
    "open": "writes a file",
    "os.remove": "removes a file",
    "os.rename": "renames a file",
    "os.mkdir": "makes a folder",
    "os.rmdir": "removes a folder",
    "shutil.rmtree": "removes a folder",
}
_LIBRARIES = tuple(
    os.path.realpath(sysconfig.get_path(name)) + os.sep
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_OWN = os.path.realpath(os.path.dirname(os.path.dirname(__file__))) + os.sep


class Contact(NamedTuple):
    """``what`` the code at ``file``:``line`` does, ``on`` what, in which run."""

    what: str
    on: str
    file: str
    line: int
    run_id: str


class Audit:
    """Tells of contact outside effects, once for each line."""

    def __init__(self, tell: Callable[[Contact], None] | None = None) -> None:
        self._tell = tell or _warn
        self._told: set[tuple[str, int, str]] = set()
        self._installed = False
        self._watching = False

    def start(self) -> None:
        self._watching = True
        if not self._installed:
            self._installed = True
            sys.addaudithook(self._hook)

    def stop(self) -> None:
        self._watching = False

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        what = _KINDS.get(event)
        if what is None or not self._watching:
            return
        place = current_boundary.get()
        # Inside an effect's body everything is as it should be: it is not repeated.
        if place is None or getattr(place, "scope", b"") != b"":
            return
        if event == "open" and not _writes(args):
            return
        where = _agent_line(sys._getframe(1))
        if where is None or (*where, event) in self._told:
            return
        self._told.add((*where, event))
        self._tell(Contact(what, _subject(event, args), *where, place.run_id))


def _writes(args: tuple[Any, ...]) -> bool:
    mode, flags = args[1], args[2]
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & _WRITING)


def _agent_line(frame: FrameType | None) -> tuple[str, int] | None:
    """The innermost line that is neither Python's, nor a library's, nor Perdure's. None where
    Perdure stands between the agent and the contact, or imports are at work."""
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith("<frozen importlib"):
            return None
        real = os.path.realpath(path)
        if real.startswith(_OWN):
            return None
        if not path.startswith("<") and not real.startswith(_LIBRARIES):
            return path, frame.f_lineno
        frame = frame.f_back
    return None


def _subject(event: str, args: tuple[Any, ...]) -> str:
    subject = args[1] if event == "socket.connect" else args[0]
    return str(subject)[:200]


def _warn(contact: Contact) -> None:
    log.warning(
        "%s:%d %s outside an effect (%s): it will happen again at every replay. Wrap it in "
        "@perdure.step or @perdure.tool.",
        contact.file,
        contact.line,
        contact.what,
        contact.on,
    )
