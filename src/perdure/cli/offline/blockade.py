"""No sockets and no subprocesses while agent code is replayed (rule X2): an audit hook, which no
library gets around. What was tried is remembered, because agents may swallow the error."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perdure.errors import BoundaryError

_BLOCKED = frozenset(
    {
        "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile",
        "os.system", "pty.spawn", "socket.connect", "socket.getaddrinfo", "socket.gethostbyaddr",
        "socket.gethostbyname", "socket.sendmsg", "socket.sendto", "subprocess.Popen",
    }
)  # fmt: skip
_PACKAGE = str(Path(__file__).resolve().parents[2])


class Contact(BoundaryError):
    """Agent code reached for the outside, and not through an effect."""

    code = "offline_contact"


class _Blockade:
    """Hooks cannot be taken out again, so one stays and is switched."""

    def __init__(self) -> None:
        self.contacts: list[str] | None = None
        self._hooked = False

    def hook(self) -> None:
        if not self._hooked:
            self._hooked = True
            sys.addaudithook(self._audit)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if self.contacts is None or event not in _BLOCKED or _is_ours(event, args):
            return
        what = f"{event}({_what(event, args)}) at {where()}"
        self.contacts.append(what)
        raise Contact(
            f"Agent code called {what}, outside any effect.",
            hint="A replay calls nothing. What touches the outside belongs into a step or tool.",
        )


_blockade = _Blockade()


@contextmanager
def blockade() -> Iterator[list[str]]:
    """Within it such calls raise Contact, in every thread; yields what was tried."""
    _blockade.hook()
    contacts: list[str] = []
    _blockade.contacts = contacts
    try:
        yield contacts
    finally:
        _blockade.contacts = None


def where(thread: str | None = None) -> str:
    """The innermost line that is neither Perdure's nor a library's, of the calling code or of the
    thread of this name."""
    frame = None
    for other in threading.enumerate() if thread is not None else ():
        if other.name == thread and other.ident is not None:
            frame = sys._current_frames().get(other.ident)
    if frame is None and thread is not None:
        return "a thread of the agent"
    for place in reversed(traceback.extract_stack(frame)):
        own = place.filename.startswith((_PACKAGE, "<frozen", sys.base_prefix))
        if not own and "site-packages" not in Path(place.filename).parts:
            return f"{_short(place.filename)}:{place.lineno}"
    return "a library"


def _short(filename: str) -> str:
    try:
        return str(Path(filename).relative_to(Path.cwd()))
    except ValueError:
        return filename


def _is_ours(event: str, args: tuple[Any, ...]) -> bool:
    """The embedded store's processes wake each other through a Unix socket."""
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        return isinstance(args[-1], str | bytes)
    return False


def _what(event: str, args: tuple[Any, ...]) -> str:
    shown = args[1:] if event.startswith("socket.") and not isinstance(args[0], str) else args
    return ", ".join(repr(arg)[:80] for arg in shown[:2] if arg is not None)
