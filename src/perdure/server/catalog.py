"""The agents that can be asked for: those whose code is in this process, and those that workers
of this store have announced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from time import monotonic

from perdure.errors import NotFound
from perdure.runtime.agent import Agent
from perdure.runtime.worker import describe
from perdure.store.base import Store
from perdure.store.rows import AgentInfo

FRESH = 5.0  # seconds that announcements are trusted for


@dataclass(frozen=True, slots=True)
class Known:
    """An agent. ``code`` is None where only other processes have it."""

    info: AgentInfo
    code: Agent | None


class Catalog:
    def __init__(self, agents: Mapping[str, Agent], store: Store) -> None:
        self._store = store
        self._here = {name: Known(describe(agent), agent) for name, agent in agents.items()}
        self._announced: dict[str, Known] = {}
        self._read_at = float("-inf")

    async def find(self, name: str) -> Known:
        """Raises NotFound, which lists names that are close."""
        known = self._here.get(name)
        if known is not None:
            return known
        everything = await self.everything()
        known = everything.get(name)
        if known is not None:
            return known
        close = get_close_matches(name, everything, n=3)
        raise NotFound(
            f"There is no agent {name!r}.",
            hint=f"Did you mean {' or '.join(map(repr, close))}?" if close else None,
            close=close,
        )

    async def everything(self) -> dict[str, Known]:
        """All agents by name."""
        if monotonic() - self._read_at > FRESH:
            announced = await self._store.agents()
            self._announced = {info.name: Known(info, None) for info in announced}
            self._read_at = monotonic()
        found = {**self._announced, **self._here}
        return {name: found[name] for name in sorted(found)}
