"""Model calls of runs that go out through urllib3 (``requests``) are not captured, but not silent
either (rule T2): each host is told of once. An effect's own body may call what it likes, since the
effect is recorded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from urllib3.connectionpool import HTTPConnectionPool

from perdure.core.ports import current_boundary
from perdure.gateway.capture import Passage
from perdure.gateway.patch import LibraryPatch
from perdure.gateway.transport.passing import passing
from perdure.slot import Slot

log = logging.getLogger("perdure.gateway")


class UnseenPatch(LibraryPatch):
    """Looks at what goes through urllib3's pools, where botocore's captured calls pass as well."""

    def __init__(self) -> None:
        super().__init__(Slot(HTTPConnectionPool, "urlopen", self._method))
        self._told: set[str] = set()

    def _method(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def urlopen(pool: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
            boundary, capture = current_boundary.get(), self.capture
            if boundary is not None and capture is not None and not passing.get():
                in_effect = getattr(boundary, "scope", b"") != b""
                way = capture.route(boundary, method, pool.host, pool.port, urlsplit(url).path)
                if isinstance(way, Passage) and not in_effect:
                    capture.unmetered[pool.host] += 1
                    self._tell(pool.host, boundary.agent)
            return original(pool, method, url, *args, **kwargs)

        return urlopen

    def _tell(self, host: str, agent: str) -> None:
        if host in self._told:
            return
        self._told.add(host)
        log.warning(
            "The agent %r called a model at %s through urllib3 (requests), which is not captured: "
            "it is not recorded, and will be paid for again at every attempt. Use an SDK that "
            "stands on httpx, or put the call into a @perdure.step.",
            agent,
            host,
        )
