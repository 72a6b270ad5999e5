"""What journals spared: calls that were answered from them, summed up for the ledger, so that a run
of many attempts adds a row for each attempt and model, not for each call again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import NamedTuple

from perdure.core.charge import Charge, Priced, Source
from perdure.core.ports import About
from perdure.gateway.answer import Answer
from perdure.gateway.pricing import Pricing
from perdure.gateway.trip import Call
from perdure.gateway.usage import Usage, reading

GATHERED_S = 0.5


class _Key(NamedTuple):
    run_id: str | None
    agent: str
    tenant: str
    session: str
    step: str
    feature: str
    provider: str
    model: str


class Replays:
    """Of one worker. ``spend`` enters a row."""

    def __init__(self, pricing: Pricing, spend: Callable[[Charge], None]) -> None:
        self._pricing = pricing
        self._spend = spend
        self._sums: dict[_Key, tuple[int, Usage, int]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: Call, model: str, answer: Answer, about: About, now: float) -> None:
        """One call more."""
        key = _Key(
            about.run_id, about.agent, about.tenant, about.session, about.step, about.feature,
            call.provider, model,
        )  # fmt: skip
        used, terms = reading(answer)
        saved = 0
        if used is not None:
            saved = self._pricing.price(call.provider, model, used, now, terms).cost
        calls, sums, spared = self._sums.get(key, (0, Usage(0, 0), 0))
        self._sums[key] = calls + 1, sums.plus(used or Usage(0, 0)), spared + saved
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHERED_S, self.flush)

    def flush(self) -> None:
        """Enter what came together."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        sums, self._sums = self._sums, {}
        for key, (calls, used, saved) in sums.items():
            self._spend(
                Charge(
                    os.urandom(16),
                    key.agent,
                    key.provider,
                    key.model,
                    Source.REPLAYED,
                    run_id=key.run_id,
                    step=key.step,
                    feature=key.feature,
                    tenant=key.tenant,
                    session=key.session,
                    why="in the journal",
                    calls=calls,
                    input=used.input,
                    output=used.output,
                    cache_read=used.cache_read,
                    cache_write=used.cache_write,
                    reasoning=used.reasoning,
                    saved=saved,
                    priced=Priced.FREE,
                )
            )
