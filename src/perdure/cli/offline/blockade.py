"""No sockets and no subprocesses while agent code is replayed (rule X2), unless people let it: an
audit hook, which no library gets around. What was tried is remembered, because agents may swallow
the error."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from perdure.core.ports import current_boundary
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


class Reached(NamedTuple):
    """What was tried, and by which run's code; None where that cannot be told (a thread that
    lost its context)."""

    what: str
    run_id: str | None


class _Blockade:
    """Hooks cannot be taken out again, so one stays and is switched."""

    def __init__(self) -> None:
        self.contacts: list[Reached] | None = None
        self.online = False
        self._hooked = False

    def hook(self) -> None:
        if not self._hooked:
            self._hooked = True
            sys.addaudithook(self._audit)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if self.contacts is None or event not in _BLOCKED or _is_ours(event, args):
            return
        what = f"{event}({_what(event, args)}) at {place(agent_frame())}"
        run = current_boundary.get()
        self.contacts.append(Reached(what, None if run is None else run.run_id))
        if self.online:
            return
        raise Contact(
            f"Agent code called {what}, outside any effect.",
            hint="A replay calls nothing: what touches the outside belongs into a step or tool."
            " Where a framework does it, such as asking MCP servers for their tools: --online.",
        )


_blockade = _Blockade()


@contextmanager
def blockade(*, online: bool = False) -> Iterator[list[Reached]]:
    """Within it such calls raise Contact, in every thread, unless ``online``; yields what was
    tried."""
    _blockade.hook()
    contacts: list[Reached] = []
    _blockade.contacts, _blockade.online = contacts, online
    try:
        yield contacts
    finally:
        _blockade.contacts = None


def place(frame: FrameType | None, in_thread: bool = False) -> str:
    """A frame's line, in words."""
    if frame is not None:
        return f"{short(frame.f_code.co_filename)}:{frame.f_lineno}"
    return "a thread of the agent" if in_thread else "a library"


def agent_frame(asked_by: object = None, root: asyncio.Task[Any] | None = None) -> FrameType | None:
    """The frame of the innermost line that is neither Perdure's nor a library's: of the calling
    code, or of the thread that waits for an answer of ``asked_by``, an attempt; else the line at
    which the agent's ``root`` task waits for what calls (``gather``, a task group). None where
    there is none."""
    frame: FrameType | None = sys._getframe()
    if asked_by is not None:
        frame = _waiting_thread(asked_by)
    while frame is not None and frame.f_code is not _TURN:
        if is_agents(frame.f_code.co_filename):
            return frame
        frame = frame.f_back
    frames = [] if root is None else _suspended(root.get_coro())
    return next((one for one in reversed(frames) if is_agents(one.f_code.co_filename)), None)


def _waiting_thread(attempt: object) -> FrameType | None:
    """The innermost frame of a thread that is inside a boundary of this attempt."""
    here = threading.get_ident()
    for ident, innermost in sys._current_frames().items():
        frame: FrameType | None = innermost if ident != here else None
        while frame is not None:
            inside = frame.f_code.co_filename.startswith(_PACKAGE)
            if inside and frame.f_locals.get("attempt") is attempt:
                return innermost
            frame = frame.f_back
    return None


_TURN = asyncio.Handle._run.__code__  # what is below it on the stack only turns the event loop


def _suspended(what: Any) -> list[FrameType]:
    """The frames of a coroutine that waits, the outermost first."""
    frames = []
    while (frame := getattr(what, "cr_frame", None)) is not None:
        frames.append(frame)
        what = what.cr_await
    return frames


def is_agents(filename: str) -> bool:
    """Whether a file is neither Perdure's, nor Python's, nor a library's."""
    own = filename.startswith((_PACKAGE, "<frozen", sys.base_prefix))
    return not own and "site-packages" not in Path(filename).parts


def short(filename: str) -> str:
    """As seen from the current folder."""
    try:
        return str(Path(filename).relative_to(Path.cwd()))
    except ValueError:
        return filename


def _is_ours(event: str, args: tuple[Any, ...]) -> bool:
    """The embedded store's processes wake each other through a Unix socket."""
    if event not in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        return False
    if not isinstance(args[-1], str | bytes):
        return False
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        filename = frame.f_code.co_filename
        if not filename.startswith(("<frozen", sys.base_prefix)) and filename != __file__:
            return filename.startswith(_PACKAGE)
        frame = frame.f_back
    return True  # the event loop's own


def _what(event: str, args: tuple[Any, ...]) -> str:
    shown = args[1:] if event.startswith("socket.") and not isinstance(args[0], str) else args
    return ", ".join(repr(arg)[:80] for arg in shown[:2] if arg is not None)
