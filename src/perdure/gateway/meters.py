"""How providers count what they limit: data, and the pools that a call needs room in.

Of the ``[[limits]]`` without a ``pool`` the one that names the model closest holds, so that an
exact name stands before a wildcard; each with a ``pool`` that fits holds beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from perdure.config import LimitConfig
from perdure.core.admission.limits import Limit, Pool, What
from perdure.core.keys import part, unpart
from perdure.core.pattern import exactness, fits

DAY_S = 86_400.0
PREFIX = "limits/"


class Meter(NamedTuple):
    """``tokens``: what TPM and TPD count. ``output``: as it is produced, or ``max_tokens`` when a
    call is admitted. ``counts``: whether input and ``max_tokens`` are added there, or the larger
    one counts. ``refund``: what was charged at admission in excess comes back. ``cached``: tokens
    read from a cache count; ``cached_models``: those of these models, whatever ``cached`` says."""

    tokens: What = What.TOKENS
    output: Literal["produced", "max_tokens"] = "max_tokens"
    counts: Literal["sum", "max"] = "sum"
    refund: bool = False
    cached: bool = True
    cached_models: tuple[str, ...] = ()


class Named(NamedTuple):
    """What the key of a pool's document says. ``shared``: ``name`` is what several models share,
    and no model. ``credential``: its label; ``*``: all of them together."""

    provider: str
    shared: bool
    name: str
    credential: str

    @classmethod
    def of(cls, key: str) -> Named | None:
        """None for what is no such key."""
        parts = key.split("/")
        if len(parts) != 5 or parts[0] + "/" != PREFIX or parts[2] not in ("pool", "model"):
            return None
        return cls(parts[1], parts[2] == "pool", unpart(parts[3]), unpart(parts[4]))


# Where nothing better is known: everything counts, at once, and nothing comes back.
STRICT = Meter()
# Sources: the providers' pages on rate limits, November 2026.
METERS: Mapping[str, Meter] = {
    # Input is estimated on arrival and put right later; max_tokens do not count; cache reads count
    # for the models that are marked so.
    "anthropic": Meter(
        output="produced", refund=True, cached=False,
        cached_models=("claude-3-5-haiku*", "claude-haiku-3-5*"),
    ),
    # The larger of max_tokens and the estimated input counts on arrival.
    "openai": Meter(counts="max"),
    "azure": Meter(counts="max"),
    # Input and max_tokens are reserved on arrival and put right at the end, cache reads with them.
    # (At some Claude models a token of output takes five of the quota: say a fifth of it there.)
    "bedrock": Meter(refund=True, cached=False),
    # "Tokens per minute (input)".
    "google": Meter(tokens=What.INPUT),
}  # fmt: skip


def limits_for(
    limits: Sequence[LimitConfig], provider: str, model: str, key: str
) -> tuple[Pool, ...]:
    """The pools that a call of ``model`` with the credential labelled ``key`` needs room in. Pure;
    worth remembering for each model and key."""
    fitting = [
        limit
        for limit in limits
        if limit.provider == provider and fits(limit.model, model) and limit.key in ("", key)
    ]
    found = [limit for limit in fitting if limit.pool]
    alone = [limit for limit in fitting if not limit.pool]
    if alone:
        # The first of equals: max() keeps it.
        found.append(max(alone, key=lambda one: (exactness(one.model, model), bool(one.key))))
    pools = {}
    for limit in found:
        pool = _pool(limit, model, key)
        pools[pool.key] = pool
    return tuple(pools[name] for name in sorted(pools))


def declared(limits: Sequence[LimitConfig], key: str) -> Pool | None:
    """The pool whose document is at ``key``, as these settings have it; None: they do not."""
    named = Named.of(key)
    if named is None:
        return None
    if not named.shared:
        found = limits_for(limits, named.provider, named.name, named.credential)
        return next((pool for pool in found if pool.key == key), None)
    for limit in limits:
        if limit.provider == named.provider and limit.pool == named.name:
            pool = _pool(limit, "", named.credential)
            if pool.key == key and limit.key in ("", named.credential):
                return pool
    return None


def _pool(said: LimitConfig, model: str, key: str) -> Pool:
    shared = f"pool/{part(said.pool)}" if said.pool else f"model/{part(model)}"
    whose = part(key) if said.key or said.per_key else "*"
    meter = METERS.get(said.provider, STRICT)
    output = said.output or meter.output
    cached = said.cached
    if cached is None:
        known = bool(meter.cached_models) and fits(meter.cached_models, model)
        cached = meter.cached or known
    charged: Literal["admission", "produced"] = "produced" if output == "produced" else "admission"
    window = said.window.total_seconds()
    amounts = said.amounts
    found = []

    def add(name: str, what: What) -> None:
        amount = amounts.get(name)
        if amount is None:
            return
        daily = name.endswith("d")
        makes = charged if what in (What.TOKENS, What.OUTPUT) else "admission"
        found.append(
            Limit(
                what,
                amount if daily else int(amount * window // 60),
                DAY_S if daily else window,
                makes,
                None if daily or said.burst is None else max(1.0, said.burst * amount),
                cached,
                meter.counts,
                meter.refund and what is not What.REQUESTS,
            )
        )

    for name, what in (
        ("rpm", What.REQUESTS), ("tpm", meter.tokens), ("itpm", What.INPUT),
        ("otpm", What.OUTPUT), ("rpd", What.REQUESTS), ("tpd", meter.tokens),
    ):  # fmt: skip
        add(name, what)
    if said.concurrent is not None:
        found.append(Limit(What.CONCURRENT, said.concurrent))
    return Pool(f"{PREFIX}{said.provider}/{shared}/{whose}", tuple(found))
