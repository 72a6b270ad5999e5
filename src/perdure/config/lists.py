"""What ``[[limits]]`` and ``[[prices]]`` say. (``[[routes]]`` and ``[[budgets]]`` are the values
that ``perdure.core`` decides with.)"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from perdure.config.values import Rate, Share

# The names that perdure.gateway.providers knows; a test holds them together.
PROVIDERS = (
    "anthropic", "openai", "google", "vertex", "azure", "bedrock", "mistral", "groq", "deepseek",
    "xai", "openrouter", "together", "fireworks", "cohere", "perplexity", "cerebras", "nvidia",
    "huggingface", "moonshot", "alibaba", "zai",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitConfig:
    """A provider's limits for a model, each model that a wildcard stands for having its own; or
    for all of them together, if ``pool`` names what they share. ``key``: of this credential only;
    ``per_key``: each credential has them for itself.

    ``rpm`` to ``concurrent``: requests and tokens (input, output) a minute or day, requests at a
    time. ``window``: what the provider counts a minute's quota in, so that ``1s`` is a sixtieth of
    it in every second. ``burst``: it refills a bucket of this part of a minute's quota, and takes
    no more than that at once. ``output``: output counts as ``produced``, or ``max_tokens`` count
    when a call is admitted. ``cached``: tokens read from a cache count. What is empty or None is as
    the provider is known to do it.
    """

    provider: str
    model: tuple[str, ...] = ("*",)
    pool: str = ""
    key: str = ""
    per_key: bool = False
    rpm: int | None = None
    tpm: int | None = None
    itpm: int | None = None
    otpm: int | None = None
    rpd: int | None = None
    tpd: int | None = None
    concurrent: int | None = None
    window: timedelta = timedelta(seconds=60)
    burst: Share | None = None
    output: str = ""
    cached: bool | None = None

    @property
    def amounts(self) -> dict[str, int]:
        """The limits that are said, by their setting's name."""
        names = ("rpm", "tpm", "itpm", "otpm", "rpd", "tpd", "concurrent")
        return {n: value for n in names if (value := getattr(self, n)) is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceConfig:
    """Prices in nano-dollars for a million tokens (US dollars in the file). Those that are not said
    are as ``input`` (cached reads and writes) or ``output`` (reasoning); ``cache_write_1h`` is as
    ``cache_write``."""

    input: Rate
    output: Rate
    provider: str = "*"
    model: tuple[str, ...] = ("*",)
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    reasoning: Rate | None = None
