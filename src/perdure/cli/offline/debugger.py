"""pdb for a replay: it stops at the first line of a plain function or at a chosen effect, at the
first effect that the journal does not answer, and where the agent raised.

Frames of synchronous agents are in a thread of their own, and stopped from the event loop's: there
a trace function that does nothing is set beforehand, since Python asks a frame for its own one only
where some is.
"""

from __future__ import annotations

import functools
import inspect
import pdb
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from types import FrameType
from typing import Any

from perdure.cli.offline.rehearsal import Stop
from perdure.runtime.agent import Agent, from_function

SKIPPED = ("perdure.*", "asyncio.*")  # modules whose lines are nobody's business here
KEY = 6  # hexadecimal digits of an effect's key that are enough to name it


class Debugger:
    """Of one replay. ``at``: the effect to stop at instead of the first line: its name, kind and
    name (``tool:pay``), either with ``#2`` for the second of them, or the beginning of its key.
    ``tell`` prints a line."""

    def __init__(self, at: str | None, tell: Callable[[str], None]) -> None:
        self.left = False  # by ``q``
        self.met = False  # ``at`` was there
        self._at = at
        self._tell = tell
        self._met: dict[str, int] = {}

    def stopping(self, agent: Agent) -> Agent:
        """The agent with a stop at its first line. A framework's object has no first line of its
        own: there an effect, or ``breakpoint()`` in the code, does it."""
        if agent.framework != "python" or not inspect.isroutine(agent.target):
            return agent
        function = agent.target
        made = from_function(self._traced(function), name=agent.name, policy=agent.policy)
        return replace(agent, invoke=made.invoke)

    def requested(self, kind: str, name: str, key: bytes, frame: FrameType | None) -> None:
        """The agent asks for an effect that the journal answers."""
        if self._at is None or self.left or not self._is_meant(kind, name, key):
            return
        self.met = True
        if frame is None:
            self._tell(f"{kind} {name!r} is asked for here, in no code of yours.")
            return
        self._tell(f"{kind} {name!r} is about to be answered from the journal.")
        self._stop_at(frame)

    def stopped(self, stop: Stop, frame: FrameType | None) -> None:
        """The agent asks for what the journal does not answer."""
        if self.left:
            return
        why = "is recorded as begun only" if stop.under_way else "is not in the journal"
        if stop.instead is not None:
            why = f"is asked for where {stop.instead.kind} {stop.instead.name!r} is recorded"
        if frame is None:
            return
        self._tell(f"{stop.kind} {stop.name!r} {why}: the replay ends here.")
        sys.settrace(None)
        self._interact(frame)

    def post_mortem(self, error: BaseException) -> None:
        """Look at the frames of an error, the agent's own last one first."""
        sys.settrace(None)
        debugger = pdb.Pdb(nosigint=True, skip=SKIPPED)
        debugger.reset()
        debugger.interaction(None, error.__traceback__)

    # -- parts ------------------------------------------------------------------------------------

    def _is_meant(self, kind: str, name: str, key: bytes) -> bool:
        wanted = self._at or ""
        if len(wanted) >= KEY and key.hex().startswith(wanted.lower()):
            return True
        wanted, _, number = wanted.partition("#")
        if wanted not in (name, f"{kind}:{name}"):
            return False
        count = self._met[wanted] = self._met.get(wanted, 0) + 1
        return not number or number == str(count)

    def _stop_at(self, frame: FrameType) -> None:
        """As ``pdb.set_trace()`` in that line would."""
        debugger = pdb.Pdb(nosigint=True, skip=SKIPPED)
        debugger.reset()
        frames = [frame]
        while (above := frames[-1].f_back) is not None:
            frames.append(above)
        debugger.botframe = frames[-1]
        self._interact(frame, debugger)
        goes_on = debugger.stoplineno == -1 and not debugger.breaks
        if self.left or goes_on:
            return
        for one in frames:
            one.f_trace = debugger.trace_dispatch
        sys.settrace(debugger.trace_dispatch)

    def _interact(self, frame: FrameType, debugger: pdb.Pdb | None = None) -> None:
        if debugger is None:
            debugger = pdb.Pdb(nosigint=True, skip=SKIPPED)
            debugger.reset()
        debugger.interaction(frame, None)
        if debugger.quitting:
            self.left = True
            sys.settrace(None)

    def _traced(self, function: Any) -> Any:
        if inspect.isasyncgenfunction(function):

            @functools.wraps(function)
            async def stream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
                items = function(*args, **kwargs)
                self._trace()
                async for item in items:
                    yield item

            return stream
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call(*args: Any, **kwargs: Any) -> Any:
                body = function(*args, **kwargs)
                self._trace()
                try:
                    return await body
                finally:
                    sys.settrace(None)

            return call

        @functools.wraps(function)
        def call_sync(*args: Any, **kwargs: Any) -> Any:
            self._trace()
            try:
                return function(*args, **kwargs)
            finally:
                sys.settrace(None)

        return call_sync

    def _trace(self) -> None:
        """Stop at the first line of whatever is called next, or make stops possible here."""
        if self._at is not None:
            sys.settrace(_idle)
            return
        debugger = pdb.Pdb(nosigint=True, skip=SKIPPED)
        debugger.reset()
        sys.settrace(debugger.trace_dispatch)


def _idle(frame: FrameType, event: str, arg: Any) -> None:
    """Traces nothing."""
