"""Faults on demand: which calls go wrong, and how.

A plan is an ordered list of rules; the first that matches a call and is not used up strikes. It
is data: Python objects, a JSON file or the body of ``POST /_sim/faults`` say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import orjson

from perdure.errors import InvalidInput
from perdure.testing.simulator.tokens import label_of

__all__ = ["KINDS", "Fault", "FaultPlan", "Match"]

# What can go wrong besides an HTTP status from 400 to 599:
KINDS: Mapping[str, str] = {
    "drop": "the connection is reset before anything is answered",
    "break": "the connection ends in the middle of the answer",
    "error": "an error event inside a 200 stream (a plain 529 or 500 when not streamed)",
    "slow": "the first token comes `delay` seconds late",
    "hang": "nothing (more) comes; after `delay` seconds, if set, the connection ends",
}


@dataclass(frozen=True, slots=True)
class Match:
    """Which calls. All that is set must hold; nothing set means every call.

    ``nth``: the number of the call, or numbers, counted over all calls since start or reset,
    from 1. ``every``: each k-th call. ``format``: anthropic, chat, responses or google.
    ``target``: which of the simulator's targets; ``key``: the API key.
    """

    nth: int | tuple[int, ...] | None = None
    every: int | None = None
    model: str | None = None
    format: str | None = None
    path: str | None = None
    digest: str | None = None
    stream: bool | None = None
    target: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise InvalidInput(f"`every` must be at least 1, not {self.every}.")

    def fits(
        self, *, n: int, model: str, format: str, path: str, digest: str, stream: bool,
        target: str = "", key: str = "",
    ) -> bool:  # fmt: skip
        """Whether a call with these facts is meant."""
        if self.nth is not None and (
            n not in self.nth if isinstance(self.nth, tuple) else n != self.nth
        ):
            return False
        return (
            (self.every is None or n % self.every == 0)
            and (self.model is None or model == self.model)
            and (self.format is None or format == self.format)
            and (self.path is None or path == self.path)
            and (self.digest is None or digest == self.digest)
            and (self.stream is None or stream == self.stream)
            and (self.target is None or target == self.target)
            and (self.key is None or key == label_of(self.key))
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Match:
        """From JSON; raises InvalidInput on an unknown key."""
        _check_keys(cls, data, "match")
        values = dict(data)
        if isinstance(values.get("nth"), list):
            values["nth"] = tuple(values["nth"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule: ``kind`` is a status ("429", "529", "500", …) or a key of ``KINDS``.

    ``times``: how many calls it strikes (None: no end). ``retry_after``: seconds, for statuses.
    ``after_chunks``: events sent before a break, error or hang in a stream; at least one event
    and never all of a break are sent. ``delay``: seconds, for slow and hang. ``type``, ``message``
    and ``headers`` replace what the provider would say (say, a spend limit instead of a rate).
    """

    kind: str
    match: Match = field(default_factory=Match)
    times: int | None = None
    retry_after: float | None = None
    after_chunks: int = 0
    delay: float = 0.0
    type: str | None = None
    message: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        status = self.status
        if self.kind not in KINDS and not (status is not None and 400 <= status <= 599):
            raise InvalidInput(
                f"No fault is called {self.kind!r}.",
                hint=f"Use an HTTP status from 400 to 599 or one of: {', '.join(KINDS)}.",
            )
        if self.delay < 0 or self.after_chunks < 0 or (self.retry_after or 0) < 0:
            raise InvalidInput("A fault's delay, after_chunks and retry_after cannot be negative.")

    @property
    def status(self) -> int | None:
        """The HTTP status of a refusal, else None."""
        return int(self.kind) if self.kind.isdecimal() else None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Fault:
        """From JSON: the same keys, ``match`` as an object. Raises InvalidInput."""
        _check_keys(cls, data, "fault")
        values = dict(data)
        values["match"] = Match.from_dict(values.get("match") or {})
        values["kind"] = str(values.get("kind", ""))
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, without what is not set."""
        out = {key: value for key, value in asdict(self).items() if value not in (None, {}, 0)}
        out["match"] = {k: v for k, v in asdict(self.match).items() if v is not None}
        return out


class FaultPlan:
    """Rules in order, with how often each has struck. Not locked: its owner does that."""

    def __init__(self, rules: Iterable[Fault] = ()) -> None:
        self._rules = _expect_faults(rules)
        self._struck = [0] * len(self._rules)

    def strike(
        self, *, n: int, model: str, format: str, path: str, digest: str, stream: bool,
        target: str = "", key: str = "",
    ) -> Fault | None:  # fmt: skip
        """The rule that strikes this call, counted as used; None when it goes well."""
        for at, rule in enumerate(self._rules):
            if rule.times is not None and self._struck[at] >= rule.times:
                continue
            if rule.match.fits(
                n=n, model=model, format=format, path=path, digest=digest, stream=stream,
                target=target, key=key,
            ):  # fmt: skip
                self._struck[at] += 1
                return rule
        return None

    def replaced(self, rules: Iterable[Fault], *, target: str) -> FaultPlan:
        """A plan whose rules for this target are these, before all others, which keep their
        counts."""
        kept = [at for at, rule in enumerate(self._rules) if rule.match.target != target]
        mine = [
            replace(rule, match=replace(rule.match, target=target))
            for rule in _expect_faults(rules)
        ]
        plan = FaultPlan([*mine, *(self._rules[at] for at in kept)])
        plan._struck = [0] * len(mine) + [self._struck[at] for at in kept]
        return plan

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._rules)

    def to_list(self) -> list[dict[str, Any]]:
        """The rules as JSON, each with ``struck``."""
        pairs = zip(self._rules, self._struck, strict=True)
        return [{**rule.to_dict(), "struck": struck} for rule, struck in pairs]

    @classmethod
    def from_list(cls, data: Any) -> FaultPlan:
        """From a JSON list of rules. Raises InvalidInput."""
        if not isinstance(data, list) or not all(isinstance(rule, dict) for rule in data):
            raise InvalidInput("A fault plan is a JSON list of objects.")
        try:
            return cls(Fault.from_dict(rule) for rule in data)
        except TypeError as error:
            raise InvalidInput(f"A fault rule has a value of the wrong type: {error}") from error

    @classmethod
    def from_file(cls, path: Path) -> FaultPlan:
        """From a JSON file. Raises InvalidInput with the file's name."""
        try:
            return cls.from_list(orjson.loads(path.read_bytes()))
        except (OSError, ValueError) as error:
            raise InvalidInput(f"The fault plan {path} cannot be read: {error}") from error


def _expect_faults(rules: Iterable[Fault]) -> list[Fault]:
    found = list(rules)
    for rule in found:
        if not isinstance(rule, Fault):
            raise InvalidInput(f"A fault plan holds Fault objects, not {type(rule).__name__}.")
    return found


def _check_keys(cls: type, data: Mapping[str, Any], what: str) -> None:
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(data) - known)
    if unknown:
        raise InvalidInput(
            f"Unknown key in a {what}: {', '.join(unknown)}.",
            hint=f"Known keys: {', '.join(sorted(known))}.",
        )
