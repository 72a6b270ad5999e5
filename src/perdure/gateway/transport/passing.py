"""Marks a captured call on its way out through another library's patch, which must not look at it
again: an explicit transport may stand on aiohttp, and botocore stands on urllib3."""

from __future__ import annotations

from contextvars import ContextVar

passing: ContextVar[bool] = ContextVar("perdure_passing", default=False)
