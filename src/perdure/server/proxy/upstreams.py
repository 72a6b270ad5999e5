"""Where calls go that no route sends elsewhere: each provider's base URL and credential."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from perdure.config import PROVIDERS, Config
from perdure.errors import ConfigError, NotFound
from perdure.gateway.credentials import Credentials, header
from perdure.gateway.formats import Format
from perdure.gateway.formats.anthropic import MESSAGES
from perdure.gateway.formats.openai import OPENAI

BASES: Mapping[str, str] = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
}
_FORMATS = (*OPENAI, MESSAGES)


class Upstream(NamedTuple):
    """A provider, as the proxy calls it. ``key`` is the label of its credential, "" for none."""

    provider: str
    base: str
    host: str
    key: str

    def url(self, path: str) -> str:
        """Where a request to ``path`` (``/v1/…``) goes. Base URLs have their version in them, but
        for Anthropic's, and people write one there all the same."""
        if self.base.endswith("/v1") or self.provider != "anthropic":
            path = path.removeprefix("/v1")
        return self.base + path


class Asked(NamedTuple):
    """What a path asks for. ``path`` begins with ``/v1``; ``wire`` is None where it is no model
    call."""

    upstream: Upstream
    path: str
    wire: Format | None


class Upstreams:
    """Of one proxy. Raises ConfigError for settings that cannot be meant."""

    def __init__(self, config: Config) -> None:
        proxy = config.proxy
        self._credentials = Credentials(config.keys)
        self._by_name: dict[str, Upstream] = {}
        for name in [*proxy.upstreams, *proxy.keys]:
            if name not in PROVIDERS:
                raise ConfigError(
                    f"[proxy] speaks of {name!r}, which is no known provider.",
                    hint=f"Known: {', '.join(sorted(PROVIDERS))}",
                )
        for name, label in proxy.keys.items():
            if label not in config.keys:
                raise ConfigError(
                    f"proxy.keys.{name} is the label of no [keys.LABEL] table.",
                    hint=f"Labels: {', '.join(sorted(config.keys)) or 'none'}",
                )
        for name, base in {**BASES, **proxy.upstreams}.items():
            parts = urlsplit(base)
            if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
                raise ConfigError(
                    f"proxy.upstreams.{name} is no base URL.",
                    hint='Such as "https://api.example.com/v1".',
                )
            key = proxy.keys.get(name, name if name in config.keys else "")
            self._by_name[name] = Upstream(name, base.rstrip("/"), parts.netloc, key)

    def all(self) -> tuple[Upstream, ...]:
        """Every provider that paths lead to."""
        return tuple(self._by_name.values())

    def unreadable(self) -> list[str]:
        """What is wrong with the credentials that are set, to be told at the start."""
        found = []
        for upstream in self._by_name.values():
            try:
                self.credential(upstream, None)
            except ConfigError as error:
                found.append(error.message)
        return found

    def find(self, path: str) -> Asked:
        """What a path is: ``/v1/…``, or ``/PROVIDER/v1/…``. Raises NotFound."""
        first, _, rest = path.removeprefix("/").partition("/")
        if first == "v1":
            name = "anthropic" if rest.split("/")[0] == "messages" else "openai"
            inner = path
        else:
            name, inner = first, f"/{rest}"
            if name not in self._by_name or not inner.startswith("/v1/"):
                raise NotFound(
                    f"There is nothing at {path}.",
                    hint="Base URLs: /v1 for OpenAI's API, / for Anthropic's, /PROVIDER/v1 for "
                    f"others of [proxy] upstreams ({', '.join(self._by_name)}).",
                )
        wire = next((wire for wire in _FORMATS if wire.path.search(inner)), None)
        return Asked(self._by_name[name], inner, wire)

    def credential(self, upstream: Upstream, wire: Format | None) -> tuple[str, str] | None:
        """The header that carries the provider's credential; None where none is set. Raises
        ConfigError."""
        if not upstream.key:
            return None
        name = wire.name if wire is not None else ""
        if not name and upstream.provider == "anthropic":
            name = MESSAGES.name
        return header(upstream.provider, name, self._credentials.secret(upstream.key))
