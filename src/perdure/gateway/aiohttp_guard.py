"""aiohttp is not captured: a model call of a run that goes through it fails, with a hint.

google-genai prefers aiohttp where it is installed, the Anthropic and OpenAI SDKs have an aiohttp
extra, LiteLLM brings its own transport. Such a call would be neither recorded nor replayed, and
paid for again at each attempt; rule T2: never silent. Outside runs it counts as a stray (T3).
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from perdure.core.ports import current_boundary
from perdure.errors import BoundaryError
from perdure.gateway.capture import Capture

_HINT = (
    "Let the SDK use httpx: for google-genai pass HttpOptions(httpx_async_client=...) or uninstall "
    "aiohttp; for anthropic and openai do not pass DefaultAioHttpClient; for LiteLLM set "
    "disable_aiohttp_transport."
)


class AiohttpGuard:
    """Put under ``aiohttp.ClientSession`` once it is imported; never imports it itself."""

    def __init__(self) -> None:
        self._capture: Capture | None = None
        self._guarded: Any = None
        self._original: Any = None
        self._lock = threading.Lock()

    def install(self, capture: Capture) -> None:
        """Guards aiohttp if it is imported by now; call it again after agents are imported."""
        aiohttp = sys.modules.get("aiohttp")
        with self._lock:
            self._capture = capture
            if aiohttp is None or self._guarded is not None:
                return
            self._guarded = aiohttp.ClientSession
            self._original = aiohttp.ClientSession._request
            aiohttp.ClientSession._request = self._method(self._original)

    def uninstall(self) -> None:
        """Takes it out."""
        with self._lock:
            self._capture = None
            if self._guarded is not None:
                self._guarded._request = self._original
                self._guarded = self._original = None

    def check(self, method: str, url: str) -> None:
        """Raises BoundaryError for a model call of a run, or what strict mode raises."""
        capture = self._capture
        if capture is None:
            return
        boundary = current_boundary.get()
        if boundary is None and capture.strays is None:
            return
        parts = urlsplit(url)
        host = parts.hostname or ""
        route = capture.providers.route(method.upper(), host, parts.port, parts.path)
        if route is None or route.format is None:
            return
        if boundary is not None:
            raise BoundaryError(
                f"A model call to {host} went through aiohttp, which is not captured: it would "
                "not be recorded, and be paid again at every attempt.",
                hint=_HINT,
            )
        if capture.strays is not None:
            capture.strays.stray(host)

    def _method(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def _request(session: Any, method: str, str_or_url: Any, **kwargs: Any) -> Any:
            if self._capture is not None:
                self.check(method, str(session._build_url(str_or_url)))
            return await original(session, method, str_or_url, **kwargs)

        return _request


guard = AiohttpGuard()
