"""Limits as data: what is counted, how much of it in how long, by which kind of meter, for whom.

The same in Python, as JSON and, on a command line, as words: ``rpm=60 tpm=100000 kind=window
by=key``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import orjson

from perdure.errors import InvalidInput
from perdure.testing.simulator.quota.meter import Bucket, Gauge, Slots, Window
from perdure.testing.simulator.tokens import label_of

__all__ = ["KINDS", "Limit", "Quota", "quotas_from", "read_quotas"]

# What a meter does with a limit of A in P seconds (60 where nothing else is said):
KINDS: Mapping[str, str] = {
    "window": "at most A in any P seconds",
    "bucket": "a bucket that holds A and is filled with A / P a second",
    "small-bucket": "the same, but it holds A / 10: what comes in P / 10 seconds",
    "second": "at most A / P in any second",
}
WHATS: Mapping[str, str] = {
    "requests": "calls",
    "tokens": "input and output together, as OpenAI's TPM",
    "input": "input without what was read from a cache, as Anthropic's ITPM",
    "output": "output as it is produced, as Anthropic's OTPM",
    "concurrent": "calls at the same time",
}
_SPLIT = ("key", "model", "target")
_WORDS = {
    "rpm": ("requests", 60.0), "tpm": ("tokens", 60.0), "itpm": ("input", 60.0),
    "otpm": ("output", 60.0), "rpd": ("requests", 86400.0), "tpd": ("tokens", 86400.0),
    "concurrent": ("concurrent", 60.0),
}  # fmt: skip
_YES_NO = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class Limit:
    """``amount`` of ``what`` in ``per`` seconds, by a ``kind`` of meter (see ``KINDS``).

    what: requests, tokens, input, output or concurrent. ``charged``: "admission" or "produced".
    Tokens at admission are ``max(max_tokens, input)``, never corrected (OpenAI); as produced, input
    at admission and then the output. Output as produced is refused only once the meter is full;
    at admission ``max_tokens`` is reserved and corrected when the call ends (older Anthropic).
    Input is charged at admission and corrected by the answer's usage. ``cached``: whether input
    read from a cache counts. None: as the provider does it today.
    """

    what: str
    amount: float
    per: float = 60.0
    kind: str = "bucket"
    charged: str | None = None
    cached: bool = False

    def __post_init__(self) -> None:
        _expect(self.what, WHATS, "limit")
        _expect(self.kind, KINDS, "kind of meter")
        _expect(self.charge, ("admission", "produced"), "time of charging")
        if self.amount <= 0 or self.per <= 0:
            raise InvalidInput("A limit's amount and its seconds must be above 0.")
        if self.charged is not None and self.what not in ("tokens", "output"):
            raise InvalidInput(f"{self.what!r} is always charged at admission.")

    @property
    def charge(self) -> str:
        """When it is charged."""
        return self.charged or ("produced" if self.what == "output" else "admission")

    @property
    def name(self) -> str:
        """As people say it: RPM, ITPM, TPD; with other spans, "requests in 10 s"."""
        for word, (what, per) in _WORDS.items():
            if (what, per) == (self.what, self.per) or self.what == word:
                return word.upper() if word != "concurrent" else word
        return f"{self.what} in {self.per:g} s"

    def gauge(self) -> Gauge:
        """A fresh meter."""
        if self.what == "concurrent":
            return Slots(self.amount)
        rate = self.amount / self.per
        if self.kind == "window":
            return Window(self.amount, self.per)
        if self.kind == "bucket":
            return Bucket(self.amount, rate)
        if self.kind == "small-bucket":
            # A bucket that never holds one call would refuse all of them.
            return Bucket(max(1.0, self.amount / 10), rate)
        # Below one a second, one in as long as it takes.
        span = max(1.0, 1.0 / rate)
        return Window(rate * span, span)


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits that hold together, for the calls they are for.

    ``models``: patterns ("claude-opus-*"); several models that match share one pool. ``key`` and
    ``target``: only calls with this API key, or to this target. None: all. ``by``: a pool of its
    own for each "key", "model" or "target". ``failed``: whether calls that fail, also those
    refused with 429, count as requests; None: as the provider does (OpenAI yes, others no).
    """

    limits: tuple[Limit, ...]
    name: str = ""
    models: tuple[str, ...] | None = None
    key: str | None = None
    target: str | None = None
    by: tuple[str, ...] = ()
    failed: bool | None = None

    def __post_init__(self) -> None:
        if not self.limits:
            raise InvalidInput("A quota needs at least one limit.")
        for word in self.by:
            _expect(word, _SPLIT, "way to split a quota")

    def fits(self, *, target: str, key: str, model: str) -> bool:
        """Whether a call is meant."""
        return (
            (self.target is None or self.target == target)
            and (self.key is None or label_of(self.key) == key)
            and (self.models is None or any(fnmatchcase(model, like) for like in self.models))
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Quota:
        """From JSON: the same keys. Raises InvalidInput."""
        _check(cls, data, "quota")
        values = dict(data)
        limits = values.get("limits")
        if not isinstance(limits, list | tuple) or not all(isinstance(one, dict) for one in limits):
            raise InvalidInput("A quota's `limits` are a list of objects.")
        for one in limits:
            _check(Limit, one, "limit")
        for name in ("models", "by"):
            if isinstance(values.get(name), str):
                values[name] = (values[name],)
            elif values.get(name) is not None:
                values[name] = tuple(values[name])
        try:
            return cls(**{**values, "limits": tuple(Limit(**one) for one in limits)})
        except TypeError as error:
            raise InvalidInput(f"A quota has a value of the wrong type: {error}") from error

    @classmethod
    def from_words(cls, words: str) -> Quota:
        """From ``rpm=60 itpm=30000 otpm=8000 kind=window by=key models=a,b``; limits of a day are
        windows. Also ``key=``, ``target=``, ``name=``, ``failed=yes|no``. Raises InvalidInput."""
        pairs = dict(word.partition("=")[::2] for word in words.split())
        kind = pairs.pop("kind", "bucket")
        limits = []
        for word in list(pairs):
            if word in _WORDS:
                what, per = _WORDS[word]
                of = "window" if per > 60 else kind
                limits.append(Limit(what, _number(word, pairs.pop(word)), per, of))
        named: dict[str, Any] = {
            name: tuple(value.split(",")) if name in ("by", "models") else value
            for name, value in pairs.items()
        }
        if named.get("failed") is not None:
            named["failed"] = _YES_NO.get(named["failed"])
        known = ("by", "models", "key", "target", "name", "failed")
        wrong = [name for name in named if name not in known or named[name] is None]
        if wrong:
            raise InvalidInput(
                f"These words are no limits: {', '.join(f'{w}={pairs[w]}' for w in wrong)}.",
                hint=f"Limits are {', '.join(_WORDS)}; besides them kind, {', '.join(known)}.",
            )
        return cls(tuple(limits), **named)


def quotas_from(data: Any) -> tuple[Quota, ...]:
    """From a JSON list of quotas, or one. Raises InvalidInput."""
    listed = data if isinstance(data, list) else [data]
    if not all(isinstance(one, dict) for one in listed):
        raise InvalidInput("Limits are a JSON list of quotas, which are objects.")
    return tuple(Quota.from_dict(one) for one in listed)


def read_quotas(given: str) -> tuple[Quota, ...]:
    """What ``--limits`` takes: a JSON file, JSON, or words. Raises InvalidInput."""
    text = given.strip()
    if not text.startswith(("[", "{")):
        if "=" in text and not text.endswith(".json"):
            return (Quota.from_words(text),)
        try:
            text = Path(text).read_text()
        except (OSError, ValueError) as error:
            raise InvalidInput(f"The limits {given} cannot be read: {error}") from error
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"The limits {given[:60]} are not JSON: {error}") from error
    return quotas_from(data)


def _number(word: str, raw: str) -> float:
    try:
        return float(raw.replace("_", ""))
    except ValueError as error:
        raise InvalidInput(f"`{word}` needs a number, not {raw!r}.") from error


def _expect(word: str, known: Any, what: str) -> None:
    if word not in known:
        raise InvalidInput(f"No {what} is called {word!r}.", hint=f"Known: {', '.join(known)}.")


def _check(cls: type, data: Mapping[str, Any], what: str) -> None:
    known = [f.name for f in fields(cls)]
    unknown = sorted(set(data) - set(known))
    if unknown:
        words = f"Unknown key in a {what}: {', '.join(unknown)}."
        raise InvalidInput(words, hint=f"Known keys: {', '.join(known)}.")
