"""The process that ``perdure dev`` is: it holds the port, starts a process that serves, and puts a
new one in its place when a file changed.

Invariants: the port stays open from the first start to the end, so a client that comes between two
processes waits and is not refused. The new code is loaded before the old is told to stop, so code
that cannot be loaded stops nothing. The old process ends as by SIGTERM: its runs park between two
effects, with what is in flight recorded, and go on in the new one. Ctrl-C reaches the server as
SIGTERM from here only, so that two mean two.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

import orjson
from rich.text import Text

from perdure.cli import options
from perdure.cli.dev.files import Change, Files
from perdure.cli.dev.link import raised
from perdure.cli.dev.order import Order
from perdure.cli.terminal.output import stderr
from perdure.config import FILE
from perdure.errors import PerdureError

T = TypeVar("T")
LOOK = 0.3  # seconds between two looks at the files
LONG = 1.0  # seconds after which it is said what is waited for
LAST_WORDS = 1.0  # seconds
APART = 0.1  # seconds between two signals
YOUNG = 3.0  # a server that dies at this age would die again: the next change is waited for


def supervise(order: Order) -> int:
    """Serve until told to stop; returns the exit code. Raises what keeps the first start from
    serving: TargetError, ConfigError, PortInUse, StoreUnavailable, SchemaNewer."""
    return asyncio.run(Supervisor(order).run())


class Supervisor:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._files = Files()
        self._changed = asyncio.Event()
        self._broken = False  # the last load failed
        self._told: list[int] = []  # signals
        self._asked = asyncio.Event()
        self._sock: socket.socket | None = None
        self._serving: Server | None = None

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        self._files.follow(_named(self._order))
        watching = loop.create_task(self._watch())
        try:
            server = await self._start(first=True)
            self._sock = self._bind()
            await self._hand_over(server)
            if server.failed is not None:
                raise server.failed
            while not self._asked.is_set():
                await self._step()
            return await self._end()
        finally:
            watching.cancel()
            if self._serving is not None:
                await self._serving.kill()
            if self._sock is not None:
                self._sock.close()

    # -- steps ------------------------------------------------------------------------------------

    async def _step(self) -> None:
        """Until something happens, and what follows from it."""
        server = self._serving
        over = [] if server is None else [server.ended.wait()]
        await _first(self._asked.wait(), self._changed.wait(), *over)
        if self._asked.is_set():
            return
        if server is not None and server.ended.is_set():
            await self._died(server)
        elif self._changed.is_set():
            self._changed.clear()
            await self._reload()

    async def _reload(self) -> None:
        fresh = await self._load()
        if fresh is None:
            return
        old = self._serving
        if old is not None:
            old.stop()
            await _first(old.ended.wait(), asyncio.sleep(LONG))
            if not old.ended.is_set():
                self._say("  ↻ waiting for effects under way, then going on in the new code", "dim")
            await old.ended.wait()
            self._serving = None
        if self._asked.is_set():
            await fresh.kill()
            return
        await self._hand_over(fresh)
        if fresh.failed is not None:
            self._complain(fresh.failed, "Nothing is served until the next change.")

    async def _load(self) -> Server | None:
        """A process with the code as it is now, waiting for its turn; None where it cannot be
        loaded, which has been said."""
        try:
            fresh = await self._start(first=False)
        except PerdureError as error:
            self._broken = True
            old = self._serving is not None
            self._complain(
                error, "The code from before goes on serving." if old else "Nothing is served."
            )
            return None
        self._broken = False
        return fresh

    async def _died(self, server: Server) -> None:
        """Nobody told it to: it was killed, or the agent's code ended its process."""
        self._serving = None
        loop = asyncio.get_running_loop()
        young = loop.time() - server.ready_at < YOUNG
        self._say(f"  ✗ the server's process ended by itself ({_how(server.code)})", "red")
        if server.failed is not None:
            self._complain(server.failed, "Nothing is served until the next change.")
        elif young:
            self._say("    right after its start; waiting for the next change", "dim")
        else:
            self._say("    starting it again; runs go on from their journals", "dim")
            fresh = await self._load()
            if fresh is not None:
                await self._hand_over(fresh)

    async def _end(self) -> int:
        server = self._serving
        if server is None:
            return 128 + self._told[-1]
        self._say("  Draining: runs end between two effects. A second Ctrl-C ends them now.", "dim")
        server.stop()
        for _ in self._told[1:]:
            server.stop()
        await server.ended.wait()
        self._serving = None
        return 128 + self._told[-1] if len(self._told) > 1 else max(server.code, 0)

    # -- processes --------------------------------------------------------------------------------

    async def _start(self, *, first: bool) -> Server:
        """A process that has loaded the agents. Raises what kept it from that."""
        server = await Server.start(self._order, first=first)
        try:
            await _first(server.loaded.wait(), server.ended.wait(), self._asked.wait())
        finally:
            self._files.follow(server.files)
        if server.failed is not None:
            await server.ended.wait()
            raise server.failed
        if server.ended.is_set():
            raise PerdureError(f"The process that loads the agents ended ({_how(server.code)}).")
        return server

    async def _hand_over(self, server: Server) -> None:
        """Its turn."""
        assert self._sock is not None
        self._serving = server
        server.go(self._sock)
        await _first(server.ready.wait(), server.ended.wait(), self._asked.wait())
        if server.ended.is_set() and not server.ready.is_set():
            self._serving = None
            server.failed = server.failed or PerdureError(
                f"The server's process ended before it served ({_how(server.code)})."
            )

    def _bind(self) -> socket.socket:
        from perdure.server.serve import bind

        order = self._order
        return bind(options.load(order.config_file, order.store, **order.flags).server)

    # -- being told -------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            if self._serving is not None:
                self._files.follow(self._serving.files)
            changes = await asyncio.to_thread(self._files.look, wide=self._broken)
            if changes:
                self._announce(changes)
                self._changed.set()

    def _announce(self, changes: Iterable[Change]) -> None:
        for change in changes:
            self._say(f"  ↻ {change}", "cyan")

    def _signalled(self, number: int) -> None:
        self._told.append(number)
        if self._asked.is_set() and self._serving is not None:
            self._serving.stop()
        self._asked.set()

    def _complain(self, error: PerdureError, then: str) -> None:
        self._say(f"  ✗ {error.message}", "red")
        if error.hint and self._serving is None:
            self._say(f"    {error.hint}")
        self._say(f"    {then}", "dim")

    def _say(self, text: str, style: str = "") -> None:
        stderr().print(Text(text, style=style), soft_wrap=True)


class Server:
    """A process that serves, or waits for its turn, seen from the supervisor."""

    def __init__(self, process: asyncio.subprocess.Process, link: socket.socket) -> None:
        self._process = process
        self._link = link
        self.loaded = asyncio.Event()
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.files: list[str] = []
        self.failed: PerdureError | None = None
        self.ready_at = float("inf")
        self.code = 0
        self._stops = 0
        self._telling: asyncio.Future[None] | None = None
        self._life = asyncio.get_running_loop().create_task(self._live())

    @classmethod
    async def start(cls, order: Order, *, first: bool) -> Server:
        here, there = socket.socketpair()
        here.setblocking(False)
        with there:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "perdure.cli.dev.child",
                order.encode(first=first), str(there.fileno()),
                pass_fds=(there.fileno(),),
            )  # fmt: skip
        return cls(process, here)

    def go(self, sock: socket.socket) -> None:
        """Let it serve on this socket."""
        try:
            socket.send_fds(self._link, [b"go\n"], [sock.fileno()])
        except OSError:
            pass  # it is gone, and will be seen to be

    def stop(self) -> None:
        """Tell it to end, once more; the second time at once."""
        self._stops += 1
        if self._telling is None or self._telling.done():
            self._telling = asyncio.ensure_future(self._tell())

    async def _tell(self) -> None:
        while self._stops and self._process.returncode is None:
            self._stops -= 1
            self._process.terminate()
            # Two signals of a kind that are pending together are one.
            await asyncio.sleep(APART)

    async def kill(self) -> None:
        """End it at once, whatever it does."""
        if self._process.returncode is None:
            self._process.kill()
        await self.ended.wait()

    async def _live(self) -> None:
        reading = asyncio.ensure_future(self._read())
        self.code = await self._process.wait()
        # Its last words may still be on their way; a process that it forked may hold the other end.
        await asyncio.wait({reading}, timeout=LAST_WORDS)
        reading.cancel()
        self._link.close()
        self.ended.set()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        held = b""
        while data := await _received(loop, self._link):
            *lines, held = (held + data).split(b"\n")
            for line in lines:
                self._heard(orjson.loads(line))

    def _heard(self, message: dict[str, Any]) -> None:
        self.files = message.get("files", self.files)
        if "failed" in message:
            self.failed = raised(message["failed"])
        if "loaded" in message:
            self.loaded.set()
        if "ready" in message:
            self.ready_at = asyncio.get_running_loop().time()
            self.ready.set()


async def _received(loop: asyncio.AbstractEventLoop, link: socket.socket) -> bytes:
    try:
        return await loop.sock_recv(link, 1 << 16)
    except OSError:
        return b""


async def _first(*waits: Coroutine[Any, Any, T]) -> None:
    """Until one of them is over."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _named(order: Order) -> list[str]:
    """The files that are named: targets, and the settings."""
    places = [target.rpartition(":")[0] if ":" in target else target for target in order.targets]
    files = [os.path.realpath(place) for place in places if place.endswith(".py")]
    return [*files, os.path.realpath(order.config_file or Path(FILE))]


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
