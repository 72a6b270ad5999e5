"""Who keeps what workers share of limits: the store of the runs, or a Redis beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from perdure.core.shared import Shared
from perdure.store import make_redis


@asynccontextmanager
async def limits_kept(url: str, store: Shared) -> AsyncIterator[Shared]:
    """``url``: the setting ``gateway.shared``; empty: ``store`` keeps them. Raises ConfigError,
    MissingExtra, StoreUnavailable."""
    if not url:
        yield store
        return
    redis = make_redis(url)
    await redis.open()
    try:
        yield redis
    finally:
        await redis.close()
