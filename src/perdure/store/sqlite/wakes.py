"""Wake-ups between the processes that share a database file.

Each open store binds a datagram socket in a folder beside the database; after a commit its writer
sends what the commit tells to every other socket there. Where that cannot be (no Unix sockets, no
right to the folder) the database's own change counter is polled, and every change is "anything may
have happened". Wake-ups are hints: one that does not fit into a receiver's full buffer is replaced
by a marker that makes it look at everything.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import sqlite3
import stat
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

import orjson

from perdure.store.sqlite.connection import Address, connect
from perdure.store.sqlite.writer import Told

log = logging.getLogger(__name__)
Callback = Callable[[str], None]
LONGEST_PATH = 100  # bytes; sun_path holds 104 on macOS, 108 on Linux, with the final zero
LONGEST_MESSAGE = 32_768  # bytes
ANYTHING = b'"*"'
POLL_S = 0.1
LOST = ".lost"


class Wakes:
    """See the module. ``told`` is called by the writer's thread, the rest on the event loop."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._listeners: dict[str, list[Callback]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket: socket.socket | None = None
        self._path: Path | None = None
        self._poll: threading.Thread | None = None
        self._stop = threading.Event()

    async def open(self) -> None:
        """Begin to be told."""
        self._loop = asyncio.get_running_loop()
        self._stop.clear()
        try:
            self._bind()
        except (OSError, AttributeError, NotImplementedError):
            ready: asyncio.Future[None] = self._loop.create_future()
            self._poll = threading.Thread(
                target=self._poll_main, args=(ready,), name="perdure-sqlite-poll", daemon=True
            )
            self._poll.start()
            await ready  # what is committed after this is noticed

    def close(self) -> None:
        self._stop.set()
        if self._socket is not None and self._loop is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            _marker(self._path).unlink(missing_ok=True)
        if self._poll is not None:
            self._poll.join()
        self._socket = self._path = self._poll = self._loop = None

    def listen(self, topic: str, callback: Callback) -> Callable[[], None]:
        """See ``Store.listen``."""
        self._listeners.setdefault(topic, []).append(callback)

        def undo() -> None:
            callbacks = self._listeners.get(topic, [])
            if callback in callbacks:
                callbacks.remove(callback)
            if not callbacks:
                self._listeners.pop(topic, None)

        return undo

    # -- telling ------------------------------------------------------------------------------

    def told(self, told: Iterable[Told]) -> None:
        """Tell listeners here and in other processes."""
        here = [(topic, payload) for topic, payload, _ in told if topic in self._listeners]
        loop = self._loop
        if here and loop is not None:
            try:
                loop.call_soon_threadsafe(self._dispatch, here)
            except RuntimeError:  # the loop was closed: nobody listens any more
                pass
        own = self._path
        far = [(topic, payload) for topic, payload, far in told if far]
        if far and own is not None and (peers := _peers(own)):
            message = orjson.dumps(far)
            _send(peers, message if len(message) <= LONGEST_MESSAGE else ANYTHING)

    # -- being told ---------------------------------------------------------------------------

    def _bind(self) -> None:
        path = _folder(self._address) / uuid.uuid4().hex[:12]
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            receiver.setblocking(False)
            receiver.bind(str(path))
            asyncio.get_running_loop().add_reader(receiver.fileno(), self._receive)
        except BaseException:
            receiver.close()
            path.unlink(missing_ok=True)
            raise
        self._socket, self._path = receiver, path

    def _receive(self) -> None:
        assert self._socket is not None
        assert self._path is not None
        found: dict[tuple[str, str], None] = {}
        anything = False
        while True:
            try:
                message = self._socket.recv(2 * LONGEST_MESSAGE)
            except (BlockingIOError, InterruptedError):
                break
            if message == ANYTHING:
                anything = True
            else:
                found.update(((topic, payload), None) for topic, payload in orjson.loads(message))
        marker = _marker(self._path)
        if marker.exists():
            marker.unlink(missing_ok=True)
            anything = True
        if anything:
            self._dispatch_all()
        else:
            self._dispatch(found)

    def _dispatch(self, told: Iterable[tuple[str, str]]) -> None:
        if self._loop is None:
            return
        for topic, payload in told:
            for callback in self._listeners.get(topic, ()):
                self._loop.call_soon(callback, payload)

    def _dispatch_all(self) -> None:
        if self._loop is None:
            return
        for callbacks in self._listeners.values():
            for callback in callbacks:
                self._loop.call_soon(callback, "*")

    def _poll_main(self, ready: asyncio.Future[None]) -> None:
        assert self._loop is not None
        link: sqlite3.Connection | None = None
        try:
            link = connect(self._address, write=False)
            seen = _version(link)
            self._loop.call_soon_threadsafe(ready.set_result, None)
            while not self._stop.wait(POLL_S):
                if (version := _version(link)) != seen:
                    seen = version
                    self._loop.call_soon_threadsafe(self._dispatch_all)
        except Exception:
            if not self._stop.is_set():
                log.exception("Other processes' wake-ups are not heard any more.")
            if not ready.done():
                self._loop.call_soon_threadsafe(ready.set_result, None)
        finally:
            if link is not None:
                link.close()


def _version(link: sqlite3.Connection) -> int:
    """A number that another connection's commit changes."""
    return int(link.execute("PRAGMA data_version").fetchone()[0])


def _folder(address: Address) -> Path:
    """Where the sockets are. A socket's path must be short, so a long one moves to the folder
    for temporary files, named by a hash of the database's path. Raises OSError where the folder
    is not this user's own."""
    folder = address.beside(".wake")
    if len(os.fsencode(folder)) + 13 > LONGEST_PATH:
        name = sha256(os.fsencode(address.path)).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"perdure-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "not a private folder of this user", str(folder))
    return folder


def _peers(own: Path) -> list[str]:
    """The other sockets in the folder."""
    folder = str(own.parent)
    try:
        names = os.listdir(folder)
    except FileNotFoundError:  # someone tidied up
        return []
    return [f"{folder}/{name}" for name in names if name != own.name and not name.endswith(LOST)]


def _marker(path: Path) -> Path:
    return path.with_name(path.name + LOST)


def _send(peers: list[str], message: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        for peer in peers:
            try:
                sender.sendto(message, peer)
            except (ConnectionRefusedError, FileNotFoundError):
                _forget(peer)  # its process died
            except OSError:
                _overflow(sender, peer)


def _overflow(sender: socket.socket, peer: str) -> None:
    """The receiver's buffer is full. The marker first, then once more: either that arrives, or
    the receiver has still to empty its buffer and looks for the marker after it."""
    try:
        os.close(os.open(peer + LOST, os.O_CREAT | os.O_WRONLY, 0o600))
        sender.sendto(ANYTHING, peer)
    except OSError:
        pass


def _forget(peer: str) -> None:
    for path in (peer, peer + LOST):
        try:
            os.unlink(path)
        except OSError:
            pass
