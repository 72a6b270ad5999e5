"""Puts capture under aiohttp when an agent imports it, and never imports it itself: who does not
use it pays nothing, and who imports it late is not missed (rule T2)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from perdure.gateway.arrival import arrivals
from perdure.gateway.capture import Capture

if TYPE_CHECKING:
    from perdure.gateway.sessions.patch import SessionPatch

_MODULE = "aiohttp"


class AiohttpGuard:
    """``patch`` is None until aiohttp is there."""

    def __init__(self) -> None:
        self.patch: SessionPatch | None = None
        self._capture: Capture | None = None
        self._lock = threading.RLock()

    def install(self, capture: Capture) -> None:
        """Captures now or as soon as there is something to capture; the latest ``capture``
        counts."""
        with self._lock:
            self._capture = capture
        arrivals.expect(_MODULE, self._fill)

    def uninstall(self) -> None:
        """Takes it out."""
        arrivals.forget(_MODULE)
        with self._lock:
            self._capture = None
            if self.patch is not None:
                self.patch.uninstall()
                self.patch = None

    def _fill(self) -> None:
        from perdure.gateway.sessions.patch import SessionPatch

        with self._lock:
            if self._capture is None:
                return
            if self.patch is None:
                self.patch = SessionPatch()
            self.patch.install(self._capture)


guard = AiohttpGuard()
