"""Libraries that are patched when an agent imports them, and that Perdure never imports itself: who
does not use them pays nothing, and who imports them late is not missed (rule T2)."""

from __future__ import annotations

import threading
from collections.abc import Callable

from perdure.gateway.arrival import arrivals
from perdure.gateway.capture import Capture
from perdure.gateway.patch import LibraryPatch


class LatePatch:
    """``module`` is the one whose arrival means that the library is there whole; ``make`` makes its
    patch. ``patch`` is None until then."""

    def __init__(self, module: str, make: Callable[[], LibraryPatch]) -> None:
        self.module = module
        self.patch: LibraryPatch | None = None
        self._make = make
        self._capture: Capture | None = None
        self._lock = threading.RLock()

    def install(self, capture: Capture) -> None:
        """Captures now or as soon as there is something to capture; the latest ``capture``
        counts."""
        with self._lock:
            self._capture = capture
        arrivals.expect(self.module, self._fill)

    def uninstall(self) -> None:
        """Takes it out."""
        arrivals.forget(self.module)
        with self._lock:
            self._capture = None
            if self.patch is not None:
                self.patch.uninstall()
                self.patch = None

    def _fill(self) -> None:
        with self._lock:
            if self._capture is None:
                return
            if self.patch is None:
                self.patch = self._make()
            self.patch.install(self._capture)


def _aiohttp() -> LibraryPatch:
    from perdure.gateway.sessions.patch import SessionPatch

    return SessionPatch()


def _botocore() -> LibraryPatch:
    from perdure.gateway.aws.patch import BotocorePatch

    return BotocorePatch()


def _urllib3() -> LibraryPatch:
    from perdure.gateway.unseen import UnseenPatch

    return UnseenPatch()


AIOHTTP = LatePatch("aiohttp", _aiohttp)
# What sends requests for all of botocore's clients, and so is imported by all who make one.
BOTOCORE = LatePatch("botocore.endpoint", _botocore)
URLLIB3 = LatePatch("urllib3", _urllib3)
LATE = (AIOHTTP, BOTOCORE, URLLIB3)
