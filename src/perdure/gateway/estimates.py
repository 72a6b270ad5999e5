"""What calls are expected to take, learned by all workers together: each adds what it saw to one
document a model, now and then, and takes over what the others added."""

from __future__ import annotations

import asyncio
import logging

import orjson

from perdure.core.admission.estimate import Estimate, Estimates, decode_estimates
from perdure.core.keys import part
from perdure.errors import CodecError, StoreUnavailable
from perdure.gateway.board import Board
from perdure.gateway.usage import Usage

log = logging.getLogger("perdure.gateway")
SHARE_S = 15.0  # how often what was learned is shared
MODELS = 1000  # whose estimates are kept here; more than that are forgotten at once
CEILING = 4096  # tokens that a call without a bound is taken to say at most, until more is known
QUANTILE = 0.99


class _Model:
    __slots__ = ("all", "delta", "read")

    def __init__(self) -> None:
        self.all = Estimates()
        self.delta = Estimates()  # what the others have not been told
        self.read = False


class Learned:
    """Of one worker and one event loop."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._models: dict[str, _Model] = {}
        self._sharing: asyncio.Task[None] | None = None

    def estimate(
        self, provider: str, model: str, size: int, bound: int | None, agent: str, step: str
    ) -> Estimate:
        """Of a call with ``size`` bytes of prompt that may say ``bound`` tokens; None: it has no
        bound."""
        known = self._of(provider, model)
        ceiling = bound
        if ceiling is None:
            outputs = known.all.outputs
            ceiling = max(1, int(outputs.quantile(QUANTILE))) if outputs.n else CEILING
        return known.all.estimate(size, ceiling, agent=agent, step=step)

    def saw(
        self,
        provider: str,
        model: str,
        size: int,
        used: Usage,
        agent: str,
        step: str,
        seconds: float | None,
    ) -> None:
        """What a call took; ``seconds`` from its first token to its last."""
        known = self._of(provider, model)
        for learned in (known.all, known.delta):
            learned.learn(size, used.input, used.output, agent=agent, step=step, seconds=seconds)
        if self._sharing is None or self._sharing.done():
            self._sharing = asyncio.get_running_loop().create_task(self._share_later())

    async def close(self) -> None:
        """Share what is left."""
        if self._sharing is not None:
            self._sharing.cancel()
        await self._share()

    def _of(self, provider: str, model: str) -> _Model:
        key = f"estimate/{part(provider)}/{part(model)}"
        known = self._models.get(key)
        if known is None:
            if len(self._models) >= MODELS:
                self._models.clear()
            known = self._models[key] = _Model()
        if not known.read and (self._sharing is None or self._sharing.done()):
            # What the others know is read at once, and counts from the next call on.
            self._sharing = asyncio.get_running_loop().create_task(self._share_later(0.0))
        return known

    async def _share_later(self, delay: float = SHARE_S) -> None:
        await asyncio.sleep(delay)
        await self._share()

    async def _share(self) -> None:
        for key, known in list(self._models.items()):
            if known.read and not known.delta.per_byte.n and not known.delta.outputs.n:
                continue
            told, known.delta = known.delta, Estimates()
            known.read = True

            def merge(body: bytes, now: float, told: Estimates = told) -> bytes:
                document = _read(body)
                document.merge(told)
                return orjson.dumps(document.encode())

            try:
                body = await self._board.change(key, merge)
            except StoreUnavailable:
                known.delta.merge(told)
                known.read = False
                return
            everything = _read(body)
            everything.merge(known.delta)  # what came while it was written
            known.all = everything


def _read(body: bytes) -> Estimates:
    if not body:
        return Estimates()
    try:
        return decode_estimates(orjson.loads(body))
    except (CodecError, orjson.JSONDecodeError):
        log.warning("A shared document of estimates cannot be read; it begins anew.")
        return Estimates()
