"""What an agent's runs took, and of which models, learned by all workers together: one document an
agent. See ``perdure.core.admission.preflight``."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, NamedTuple

import orjson

from perdure.config import AgentConfig
from perdure.core.admission.estimate import ENOUGH
from perdure.core.admission.preflight import QUANTILE, Past, Plan, decode_past
from perdure.core.keys import part
from perdure.errors import CodecError, StoreUnavailable
from perdure.gateway.board import Board

log = logging.getLogger("perdure.gateway")
SHARE_S = 5.0  # until what was learned is shared
MODELS = 16  # of an agent, that are remembered: those it used last
OUTPUT_SHARE = 4  # of tokens that are only declared in sum, one in so many is taken to be output
UNKNOWN_S = 60.0  # how long a run takes, before any was seen to end


class Used(NamedTuple):
    """What a run called: whose limits it needs room in."""

    provider: str
    model: str
    credential: str


class _Agent:
    def __init__(self) -> None:
        self.past, self.delta = Past(), Past()
        self.models: dict[Used, None] = {}  # the last used at the end


class Pasts:
    """Of one worker and one event loop."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._agents: dict[str, _Agent] = {}
        self._sharing: asyncio.Task[None] | None = None

    async def of(self, agent: str, settings: AgentConfig) -> tuple[Plan, tuple[Used, ...]]:
        """What a run of it will probably take, and of which models."""
        known = self._agents.setdefault(agent, _Agent())
        try:
            key = _key(agent)
            body = (await self._board.read([key]))[key].body
            _take_over(known, body)
        except StoreUnavailable:
            pass  # what is known here has to do
        declared = [Used(*_split(name), "") for name in settings.models]
        return planned(known.past, settings), (*declared, *known.models)

    def ended(self, agent: str, took: Plan, used: list[Used]) -> None:
        """A run succeeded that took this."""
        known = self._agents.setdefault(agent, _Agent())
        for past in (known.past, known.delta):
            past.learn(took)
        _add(known.models, used)
        if self._sharing is None or self._sharing.done():
            self._sharing = asyncio.get_running_loop().create_task(self._share_later())

    async def close(self) -> None:
        """Share what is left."""
        if self._sharing is not None:
            self._sharing.cancel()
        await self._share()

    async def _share_later(self) -> None:
        await asyncio.sleep(SHARE_S)
        await self._share()

    async def _share(self) -> None:
        for agent, known in self._agents.items():
            if not known.delta.calls.n:
                continue
            told, known.delta = known.delta, Past()

            def merge(body: bytes, now: float, told: Past = told, known: _Agent = known) -> bytes:
                past, models = _read(body)
                past.merge(told)
                _add(models, list(known.models))
                rows = [list(used) for used in models]
                return orjson.dumps({"past": past.encode(), "models": rows})

            try:
                body = await self._board.change(_key(agent), merge)
            except StoreUnavailable:
                known.delta.merge(told)
                return
            _take_over(known, body)


def planned(past: Past, settings: AgentConfig) -> Plan:
    """The 95th percentile of past runs, at most what is declared. Before enough of them are known:
    what is declared; for what is not, the most that was seen."""
    tokens, cost = settings.expected_tokens, settings.expected_cost
    enough = past.calls.n >= ENOUGH

    def seen(name: str) -> int:
        digest = getattr(past, name)
        return round(digest.quantile(QUANTILE if enough else 1.0)) if digest.n else 0

    calls, read, said = max(1, seen("calls")), seen("input"), seen("output")
    if tokens is not None:
        if not enough:
            said = tokens // OUTPUT_SHARE
            read = tokens - said
        elif read + said > tokens:
            said = said * tokens // (read + said)
            read = tokens - said
    spent = seen("cost")
    if cost is not None:
        spent = min(spent, cost) if enough else cost
    seconds = past.seconds.quantile(0.5) if past.seconds.n else UNKNOWN_S
    return Plan(calls, read, said, spent, seconds)


def _key(agent: str) -> str:
    return f"past/{part(agent)}"


def _split(name: str) -> tuple[str, str]:
    provider, _, model = name.partition("/")
    return provider, model


def _add(models: dict[Used, None], used: list[Used]) -> None:
    for one in used:
        models.pop(one, None)
        models[one] = None
    for old in list(models)[:-MODELS]:
        del models[old]


def _take_over(known: _Agent, body: bytes) -> None:
    """What all know, and what came here since."""
    past, models = _read(body)
    past.merge(known.delta)
    _add(models, list(known.models))
    known.past, known.models = past, models


def _read(body: bytes) -> tuple[Past, dict[Used, None]]:
    if not body:
        return Past(), {}
    try:
        found: Any = orjson.loads(body)
        return decode_past(found["past"]), {Used(*map(str, row)): None for row in found["models"]}
    except (CodecError, orjson.JSONDecodeError, KeyError, TypeError):
        log.warning("A shared document of past runs cannot be read; it begins anew.")
        return Past(), {}
