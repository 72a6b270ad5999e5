"""Model calls of runs to a host that is not known as a provider (a proxy, a local server): recorded
and timed like others, but by no limit, budget, route or ledger, which go by providers. Each host is
told of once, with the setting that names it."""

from __future__ import annotations

import logging
import re

from perdure.gateway.formats import GENERATE, MESSAGES, Format
from perdure.gateway.formats.openai import CHAT, RESPONSES

log = logging.getLogger("perdure.gateway")

# The paths that servers with an API like another's offer, and whose API that is. Only such as
# nobody else has: a request that is no model call must not be taken for one.
_PATHS = (
    (re.compile(r"/chat/completions$"), CHAT, "openai"),
    (re.compile(r"/v1/responses$"), RESPONSES, "openai"),
    (re.compile(r"/v1/messages$"), MESSAGES, "anthropic"),
    (re.compile(r"/models/[^/]+:(?:generateContent|streamGenerateContent)$"), GENERATE, "google"),
)
_DEFAULT_PORTS = (None, 80, 443)
# An agent may talk to very many hosts.
_MOST_TOLD = 1000


def named(host: str, port: int | None) -> str:
    """A host as the settings name it."""
    return host if port in _DEFAULT_PORTS else f"{host}:{port}"


def wire_of(path: str) -> Format | None:
    """The format that a POST to this path of any host is in; None: it is no model call."""
    return next((wire for paths, wire, _ in _PATHS if paths.search(path)), None)


class UnknownHosts:
    """``told``: the hosts that were warned of."""

    def __init__(self) -> None:
        self.told: set[str] = set()

    def tell(self, agent: str, host: str, wire: Format) -> None:
        """``agent`` called a model at ``host``."""
        if host in self.told or len(self.told) >= _MOST_TOLD:
            return
        self.told.add(host)
        speaks = next(name for _, each, name in _PATHS if each is wire)
        log.warning(
            "The agent %r calls models at %s, which is not known as a provider: the calls are "
            "recorded, but limits, budgets, routes and costs do not know of them. Say what it is "
            'in perdure.toml: [gateway.providers] "%s" = "%s"',
            agent,
            host,
            host,
            speaks,
        )
