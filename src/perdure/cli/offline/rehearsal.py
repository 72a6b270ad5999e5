"""An attempt that performs nothing: every effect is answered from the journal, and the first that
is not there ends it.

Branches that run beside each other are let come to their own ends first, so that what is said about
the end does not depend on who was faster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from perdure.cli.offline.blockade import agent_frame, place
from perdure.core.matching import Journal, Match, Verdict
from perdure.core.ports import Ticket
from perdure.core.record import Entry, Record
from perdure.errors import Diverged, Parked
from perdure.runtime.agent import Agent
from perdure.runtime.attempt import Attempt
from perdure.runtime.closing import Ending
from perdure.runtime.pen import Pen
from perdure.runtime.place import Place
from perdure.runtime.runtime import Runtime
from perdure.runtime.ticket import Live
from perdure.store.rows import Lease

QUIET = 0.3  # seconds without any request, after which everyone is taken to have stopped
# A request, before it is answered: its kind, name and key, and the agent's frame that asks.
OnRequest = Callable[[str, str, bytes, FrameType | None], None]


class Stop:
    """Where the replay left the journal."""

    def __init__(
        self, kind: str, name: str, under_way: bool, at: str, instead: Entry | None = None
    ) -> None:
        self.kind = kind
        self.name = name
        self.under_way = under_way  # its intent is recorded, its end is not
        self.at = at
        self.instead = instead  # what is recorded at this place, where a run would have to ask

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} at {self.at}"

    @property
    def conflict(self) -> str | None:
        """How it goes against what is recorded at its place, if it does."""
        if self.instead is None:
            return None
        asks = f"asks for {self.kind} {self.name!r}"
        if (self.kind, self.name) == (self.instead.kind, self.instead.name):
            return f"{asks} with other arguments than recorded"
        return f"{asks} where {self.instead.kind} {self.instead.name!r} is recorded"


class Rehearsal(Attempt):
    """``on_answer(entry, reused)`` is called for each effect that the journal answers.

    ``faithful``: as the run's last attempt went, its failures included; else as its next attempt
    would begin (F1). ``on_request`` and ``on_stop`` are a debugger's. ``patience``: how many
    stretches of QUIET in a row are silence; other rehearsals beside this one may keep it waiting.
    """

    def __init__(
        self,
        lease: Lease,
        agent: Agent,
        runtime: Runtime,
        *,
        on_answer: Callable[[Entry, bool], None],
        on_request: OnRequest | None = None,
        on_stop: Callable[[Stop, FrameType | None], None] | None = None,
        faithful: bool = True,
        patience: int = 1,
    ) -> None:
        super().__init__(lease, agent, runtime)
        self.pen = Dry(lease, runtime, self.closing)
        self.stops: list[Stop] = []
        self._on_answer = on_answer
        self._asked = on_request
        self._on_stop = on_stop
        self._faithful = faithful
        self._patience = patience
        self._stopped: list[tuple[asyncio.Future[None], bool]] = []
        self._quiet_watch: asyncio.Task[None] | None = None

    async def load(self) -> None:
        await super().load()
        entries = await self.runtime.store.journal(self.run_id)
        self.journal = Journal(entries, changed=self.policy.changed, faithful=self._faithful)
        self.replaying = len(self.journal) > 0

    async def _recorded(
        self, place: Place, match: Match, kind: str, name: str, foreign: bool
    ) -> Ticket | None:
        if match.verdict is Verdict.DIVERGED:
            await self._stop(kind, name, foreign=foreign, instead=match.entry)
        asked = self._asked if match.verdict is not Verdict.INTENT else None
        if match.entry is not None and asked is not None:
            asked(kind, name, match.entry.key, self._frame(foreign))
        ticket = await super()._recorded(place, match, kind, name, foreign)
        if ticket is not None and match.entry is not None:
            self._on_answer(match.entry, match.verdict is Verdict.REUSE)
        return ticket

    async def _go_live(
        self,
        place: Place,
        match: Match,
        kind: str,
        name: str,
        digest: bytes,
        promise: str,
        streamed: bool,
        foreign: bool,
    ) -> Live:
        await self._stop(kind, name, under_way=match.verdict is Verdict.INTENT, foreign=foreign)

    async def _stop(
        self,
        kind: str,
        name: str,
        *,
        foreign: bool,
        under_way: bool = False,
        instead: Entry | None = None,
    ) -> NoReturn:
        frame = self._frame(foreign)
        stop = Stop(kind, name, under_way, place(frame, foreign), instead)
        self.stops.append(stop)
        if self._on_stop is not None and len(self.stops) == 1:
            self._on_stop(stop, frame)
        if self._quiet_watch is None:
            self._quiet_watch = self.loop.create_task(self._close_when_quiet())
        future: asyncio.Future[None] = self.loop.create_future()
        self._stopped.append((future, foreign))
        await future
        raise Parked("the replay is over")

    def _frame(self, foreign: bool) -> FrameType | None:
        return agent_frame(self if foreign else None, self.closing.task)

    async def _close_when_quiet(self) -> None:
        seen, quiet = -1, 0
        while quiet < self._patience:
            quiet = quiet + 1 if seen == self.activity else 0
            seen = self.activity
            if quiet < self._patience:
                await asyncio.sleep(QUIET)
        error = Diverged(f"The journal holds no answer to {self.stops[0]}.")
        self.closing.close(Ending.FAIL, error=error)
        for future, foreign in self._stopped:
            if foreign and not future.done():  # a thread is waiting; tasks are cancelled
                future.set_result(None)


class Dry(Pen):
    """A pen that leaves no trace."""

    def commit(self, record: Record) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    def append_quietly(self, record: Record) -> None:
        pass

    def warn(self, code: str, message: str, *, key: bytes | None = None) -> None:
        pass  # ``on_answer`` was told

    def output(self, item: Any) -> None:
        pass
