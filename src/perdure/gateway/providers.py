"""Which hosts are model providers, and which of their paths are model calls: all of it data.

Only a POST to a known path of a known host is a model call. Other POSTs to such a host pass
through and are counted, so that a call that nobody records is not silent.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from perdure.errors import ConfigError
from perdure.gateway.formats import (
    BEDROCK,
    CLAUDE_ON_VERTEX,
    COHERE,
    GENERATE,
    MESSAGES,
    OPENAI,
    Format,
)  # fmt: skip


class Provider(NamedTuple):
    """A host name that starts with a dot matches all names that end so; a ``*`` stands for
    anything without a dot."""

    name: str
    hosts: tuple[str, ...]
    formats: tuple[Format, ...]


class Route(NamedTuple):
    """Where a request goes. ``format`` is None on a path that is no model call."""

    provider: str
    format: Format | None


# Also what only FIPS or IPv6 reaches, and the partition of China.
_BEDROCK = (
    "bedrock-runtime.*.amazonaws.com", "bedrock-runtime-fips.*.amazonaws.com",
    "bedrock-runtime.*.api.aws", "bedrock-runtime-fips.*.api.aws",
    "bedrock-runtime.*.amazonaws.com.cn",
)  # fmt: skip

# Checked against the providers' API references, November 2026.
PROVIDERS: tuple[Provider, ...] = (
    Provider("anthropic", ("api.anthropic.com",), (MESSAGES, *OPENAI)),
    Provider("openai", ("api.openai.com", ".api.openai.com"), OPENAI),
    Provider("google", ("generativelanguage.googleapis.com",), (GENERATE, *OPENAI)),
    Provider(
        "vertex",
        ("aiplatform.googleapis.com", "*-aiplatform.googleapis.com", ".rep.googleapis.com"),
        (GENERATE, CLAUDE_ON_VERTEX, *OPENAI),
    ),
    Provider(
        "azure",
        (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com",
         ".models.ai.azure.com"),
        (*OPENAI, MESSAGES),
    ),
    Provider("bedrock", _BEDROCK, (BEDROCK, *OPENAI)),
    Provider("mistral", ("api.mistral.ai", "codestral.mistral.ai"), OPENAI),
    Provider("groq", ("api.groq.com",), OPENAI),
    Provider("deepseek", ("api.deepseek.com",), (*OPENAI, MESSAGES)),
    Provider("xai", ("api.x.ai", ".api.x.ai"), (*OPENAI, MESSAGES)),
    Provider("openrouter", ("openrouter.ai",), (*OPENAI, MESSAGES)),
    Provider("together", ("api.together.xyz", "api.together.ai"), OPENAI),
    Provider("fireworks", ("api.fireworks.ai",), (*OPENAI, MESSAGES)),
    Provider("cohere", ("api.cohere.com", "api.cohere.ai"), (COHERE, *OPENAI)),
    Provider("perplexity", ("api.perplexity.ai",), OPENAI),
    Provider("cerebras", ("api.cerebras.ai",), OPENAI),
    Provider("nvidia", ("integrate.api.nvidia.com",), OPENAI),
    Provider("huggingface", ("router.huggingface.co",), OPENAI),
    Provider("moonshot", ("api.moonshot.ai", "api.moonshot.cn"), (*OPENAI, MESSAGES)),
    Provider("alibaba", ("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com"), OPENAI),
    Provider("zai", ("api.z.ai", "open.bigmodel.cn"), (*OPENAI, MESSAGES)),
)  # fmt: skip


class Providers:
    """The providers known here. ``extra`` adds hosts (``name`` or ``name:port``) and says which
    provider's API they speak; their calls are named after that provider.

    Raises ConfigError for a provider that is not known.
    """

    def __init__(self, extra: Mapping[str, str] | None = None) -> None:
        by_name = {provider.name: provider for provider in PROVIDERS}
        self.extra = dict(extra or {})
        self._exact: dict[str, Provider] = {}
        self._patterns: list[tuple[str, str, bool, Provider]] = []
        for provider in PROVIDERS:
            for host in provider.hosts:
                before, star, after = host.partition("*")
                if star:
                    self._patterns.append((before, after, False, provider))
                elif host.startswith("."):
                    self._patterns.append(("", host, True, provider))
                else:
                    self._exact[host] = provider
        for host, name in self.extra.items():
            if name not in by_name:
                raise ConfigError(
                    f"The host {host!r} is to speak like {name!r}, which is no known provider.",
                    hint=f"Use one of: {', '.join(sorted(by_name))}.",
                )
            self._exact[host.lower()] = by_name[name]
        # Agents may talk to very many hosts; only so many verdicts are remembered.
        self._host = lru_cache(maxsize=4096)(self._find)

    def adding(self, extra: Mapping[str, str]) -> Providers:
        """These and more hosts."""
        return Providers({**self.extra, **extra})

    def host(self, host: str, port: int | None) -> Provider | None:
        """The provider that a host belongs to."""
        return self._host(host, port)

    def route(self, method: str, host: str, port: int | None, path: str) -> Route | None:
        """Where a request goes; None when it does not go to a provider or is no POST."""
        if method != "POST":
            return None
        provider = self._host(host, port)
        if provider is None:
            return None
        for wire in provider.formats:
            if wire.path.search(path):
                return Route(provider.name, wire)
        return Route(provider.name, None)

    def _find(self, host: str, port: int | None) -> Provider | None:
        host = host.lower()
        found = self._exact.get(f"{host}:{port}") or self._exact.get(host)
        if found is not None:
            return found
        for before, after, dots, provider in self._patterns:
            if host.startswith(before) and host.endswith(after):
                middle = host[len(before) : len(host) - len(after)]
                if middle and (dots or "." not in middle):
                    return provider
        return None
