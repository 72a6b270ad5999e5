"""The SDK's default runner in a run of Perdure: what ``Runner.run``, ``run_streamed`` and
``run_sync`` hand their work to.

It gives the run recorded sessions and the hooks that tell its events, whoever calls it: the
adapter, a function of the user's own, an agent that is run as a tool. Outside a run it passes
everything on.
"""

from __future__ import annotations

import asyncio
import threading
import warnings
from typing import Any

from agents import RunState
from agents.run import AgentRunner

from perdure.core.ports import current_boundary
from perdure.frameworks.openai_agents.events import Told
from perdure.frameworks.openai_agents.places import run_of
from perdure.frameworks.openai_agents.sessions import recorded


class RecordedRunner(AgentRunner):
    """In front of ``real``, the runner that was the default before."""

    def __init__(self, real: AgentRunner) -> None:
        self.real = real

    async def run(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:
        """As the SDK's."""
        with run_of(None, resumed=isinstance(input, RunState)):
            return await self.real.run(starting_agent, input, **_inside(kwargs))

    def run_sync(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:
        """As the SDK's."""
        try:
            with run_of("sync", resumed=isinstance(input, RunState)):
                return self.real.run_sync(starting_agent, input, **_inside(kwargs))
        finally:
            if current_boundary.get() is not None:
                _close_with_thread()

    def run_streamed(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:
        """As the SDK's."""
        with run_of("streamed", resumed=isinstance(input, RunState)):
            return self.real.run_streamed(starting_agent, input, **_inside(kwargs))


class _Loop:
    """Closes an event loop when the thread it was made for is gone."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __del__(self) -> None:
        if not self._loop.is_closed():
            self._loop.close()


_thread = threading.local()


def _close_with_thread() -> None:
    """The SDK leaves the event loop of ``run_sync`` open for the thread's next call. Threads of
    agents come and go, and would leave their loops' files open."""
    if not hasattr(_thread, "loop"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                _thread.loop = _Loop(asyncio.get_event_loop_policy().get_event_loop())
            except RuntimeError:  # it came to no loop
                pass


def _inside(kwargs: dict[str, Any]) -> dict[str, Any]:
    if current_boundary.get() is None:
        return kwargs
    hooks = kwargs.get("hooks")
    return {
        **kwargs,
        "session": recorded(kwargs.get("session")),
        "hooks": hooks if isinstance(hooks, Told) else Told(hooks),
    }
