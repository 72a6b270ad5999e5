"""What a process of Perdure's own command line adds to its parts (``perdure.assembly``): logging,
crash points, the store as commands want it, signals. ``dev``, ``serve``, ``worker`` and ``run``
use it.

Signals: the first SIGTERM or SIGINT asks to finish, a second one ends the process within seconds,
whatever agent code is doing: what it leased goes on elsewhere from its journal.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

from perdure.assembly import capturing as capturing
from perdure.assembly import make_worker as make_worker
from perdure.assembly import open_blobs as open_blobs
from perdure.assembly import upgrade_embedded as upgrade_embedded
from perdure.cli.terminal.busy import busy
from perdure.config import Config
from perdure.errors import ConfigError, SchemaOutdated, StoreUnavailable
from perdure.observe import logs
from perdure.runtime.worker import Worker
from perdure.store import Store, make_store
from perdure.testing import crash

log = logging.getLogger("perdure")

HURRY = 2.0  # seconds that a second signal leaves for giving leases back
UNWIND = 15.0  # seconds on top of the drain time, after which a process leaves stuck code behind
THREADS = 1.0  # seconds that threads of effects get to end by themselves
SAID_BY_EVENTS = ("perdure.attempt", "perdure.execution")


def prepare(config: Config, *, shown: bool = False) -> None:
    """Logging and crash points. ``shown``: progress is, so that the log need not say what a run's
    events say. Raises ConfigError."""
    level = _one_of(logs.LEVELS, "log.level", config.log.level)
    others = _one_of(logs.LEVELS, "log.others", config.log.others)
    logs.configure(_one_of(logs.FORMATS, "log.format", config.log.format), level, others)
    for name in SAID_BY_EVENTS:
        quiet = shown and level != "debug"
        logging.getLogger(name).setLevel(logging.ERROR if quiet else logging.NOTSET)
    if config.testing.crash:
        crash.arm(config.testing.crash)


def _one_of(known: Sequence[str], name: str, value: str) -> str:
    if value.lower() not in known:
        noun = "format" if name.endswith("format") else "level"
        raise ConfigError(f"{name} = {value!r} is no {noun}.", hint=f"One of: {', '.join(known)}")
    return value.lower()


def tell(config: Config, text: str) -> None:
    """What a process says of itself, on stderr: a line of the log where that is for machines."""
    if config.log.format.lower() == "json":
        log.info("%s", text)
    else:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


# -- the store ------------------------------------------------------------------------------------


@asynccontextmanager
async def open_store(config: Config, *, create: bool = False) -> AsyncIterator[Store]:
    """The store, open. ``create``: see :func:`upgrade_embedded`; otherwise a database that is not
    there is an error that says so."""
    if create:
        await upgrade_embedded(config)
    store = make_store(config.store.url)
    try:
        with busy(f"Opening {store.url}"):
            await store.open()
    except SchemaOutdated as error:
        if config.store.url.startswith("sqlite:") and "version" not in error.detail:
            raise StoreUnavailable(
                error.message,
                hint="Name the right one (--store, PERDURE_STORE); `perdure dev` and `perdure run` "
                "make a new one.",
            ) from None
        raise
    try:
        yield store
    finally:
        await store.close()


# -- signals and the end --------------------------------------------------------------------------


class Stop:
    """What SIGTERM and SIGINT ask for. ``asked`` is set by the first, ``again`` by the second."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.again = asyncio.Event()
        self.number: int | None = None  # the last signal's
        self.limit = 0.0  # seconds from the first signal on; 0: none
        self._told = 0
        self._timers: list[threading.Timer] = []
        self._loop = asyncio.get_running_loop()

    @property
    def exit_code(self) -> int:
        """What a shell makes of a process that a signal ended."""
        return 128 + (self.number or 0)

    def bound(self, worker: Worker | None) -> None:
        """A first signal, too, ends the process for certain: a while after the drain time."""
        if worker is not None:
            self.limit = worker.settings.drain.total_seconds() + UNWIND

    async def unless(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do ``work`` to its end, unless told to stop before; whether it was."""
        working = asyncio.ensure_future(work)
        asked = asyncio.ensure_future(self.asked.wait())
        try:
            await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
                return False
            return True
        finally:
            for task in (working, asked):
                task.cancel()
            await asyncio.gather(working, asked, return_exceptions=True)

    def listen(self) -> None:
        """Take SIGTERM and SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.told(number)

    def told(self, number: int) -> None:
        """From a signal handler, which may interrupt anything."""
        self.number = number
        self._told += 1
        if self._told == 1:
            self._loop.call_soon_threadsafe(self.asked.set)
            if self.limit:
                self._leave_in(self.limit)
        elif self._told == 2:
            self._loop.call_soon_threadsafe(self.again.set)
            # Agent code may block the loop itself, or hold threads that never end.
            self._leave_in(HURRY)
        else:
            leave(self.exit_code)

    def _leave_in(self, seconds: float) -> None:
        timer = threading.Timer(seconds, leave, args=(self.exit_code,))
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def over(self) -> None:
        """It was heeded. What the agent's own threads keep going is still ended in time."""
        own = threading.current_thread()
        if not any(not t.daemon and t is not own for t in threading.enumerate()):
            for timer in self._timers:
                timer.cancel()


async def drain(worker: Worker, stop: Stop) -> None:
    """End the worker's attempts between two effects; at once when told again."""
    draining = asyncio.ensure_future(worker.drain())
    again = asyncio.ensure_future(stop.again.wait())
    try:
        await asyncio.wait({draining, again}, return_when=asyncio.FIRST_COMPLETED)
        if draining.done():
            draining.result()
            return
        draining.cancel()
        await worker.stop()
    finally:
        again.cancel()


def leave(code: int) -> None:
    """End the process now, whatever its threads do."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads it any more
    os._exit(code)


def spare_collector() -> None:
    """Let Python's garbage collector look less often, and never at what was imported. Attempts and
    effects leave no cycles behind; at its defaults it took a quarter of a busy worker's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def run_process(main: Callable[[Stop], Awaitable[int]]) -> int:
    """Run ``main`` on an event loop of its own; returns its exit code. Threads of effects that do
    not end cannot keep the process."""

    spare_collector()
    stop: Stop | None = None

    async def whole() -> int:
        nonlocal stop
        stop = Stop()
        code = await main(stop)
        loop = asyncio.get_running_loop()
        threads = asyncio.ensure_future(loop.shutdown_default_executor())
        _, left = await asyncio.wait({threads}, timeout=THREADS)
        if left:
            leave(code)
        return code

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return asyncio.run(whole())
    finally:
        if stop is not None:
            stop.over()
        for number, handler in before.items():
            signal.signal(number, handler)
