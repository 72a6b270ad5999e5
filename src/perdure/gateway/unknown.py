"""Requests of runs that look like model calls but go to a host that is not known as a provider (a
proxy, a local server): not captured, but not silent either. Each host is told of once, with the
setting that names it. An effect's own body may call what it likes, since the effect is recorded."""

from __future__ import annotations

import logging
import re

from perdure.core.ports import Boundary

log = logging.getLogger("perdure.gateway")

# The paths that servers with an API like another's offer. Only such as nobody else has: a warning
# about a request that is no model call would be worse than none.
_PATHS = (
    (re.compile(r"/chat/completions$|/v1/responses$"), "openai"),
    (re.compile(r"/v1/messages$"), "anthropic"),
    (re.compile(r"/models/[^/]+:(?:generateContent|streamGenerateContent)$"), "google"),
)
_DEFAULT_PORTS = (None, 80, 443)
# An agent may talk to very many hosts.
_MOST_TOLD = 1000


class UnknownHosts:
    """``told``: the hosts that were warned of."""

    def __init__(self) -> None:
        self.told: set[str] = set()

    def pass_by(self, boundary: Boundary, host: str, port: int | None, path: str) -> None:
        """A POST of a run to a host that is no provider's."""
        speaks = next((name for paths, name in _PATHS if paths.search(path)), None)
        if speaks is None or getattr(boundary, "scope", b"") != b"":
            return
        named = host if port in _DEFAULT_PORTS else f"{host}:{port}"
        if named in self.told or len(self.told) >= _MOST_TOLD:
            return
        self.told.add(named)
        log.warning(
            "The agent %r sent what looks like a model call to %s (%s), which is not known as a "
            "provider: it is not recorded, and goes out again at every attempt. If it is one, say "
            'so in perdure.toml: [gateway.providers] "%s" = "%s"',
            boundary.agent,
            named,
            path,
            named,
            speaks,
        )
