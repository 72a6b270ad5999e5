"""Marks a captured call on its way out through another library's patch: an explicit transport may
stand on aiohttp, which must not capture the call again."""

from __future__ import annotations

from contextvars import ContextVar

passing: ContextVar[bool] = ContextVar("perdure_passing", default=False)
