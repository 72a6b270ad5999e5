"""Where two runs part: the first effect that one of them asked for otherwise, or that gave them
something else. Pure: two exports go in.

Branches that run beside each other have no order between them, so that each is compared by itself;
of several differences the one that happened first is the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any

import orjson

from perdure.cli.offline.document import Export
from perdure.cli.offline.sides import Side, essence, lanes, sides, value

REQUEST, ANSWER, EFFECT, ONLY_A, ONLY_B = "request", "answer", "effect", "only in a", "only in b"


@dataclass(frozen=True, slots=True)
class Difference:
    """``how``: the same effect was asked for otherwise (``request``) or gave something else
    (``answer``), another effect stands there (``effect``), or only one run has it."""

    how: str
    a: Side | None
    b: Side | None
    path: tuple[str, ...] = ()  # the effects around it, outermost first

    @property
    def when(self) -> int:
        return min(side.seq for side in (self.a, self.b) if side is not None)

    def diff(self, a: str, b: str) -> list[str]:
        """A unified diff, of what was asked where that differs, else of the answers."""
        if self.a is None or self.b is None:
            return []
        if self.how == ANSWER:
            return diff(self.a.gave, self.b.gave, a, b)
        return diff(self.a.asked, self.b.asked, a, b)

    def to_dict(self, a: str, b: str) -> dict[str, Any]:
        return {
            "how": self.how,
            "inside": list(self.path),
            "a": None if self.a is None else self.a.to_dict(),
            "b": None if self.b is None else self.b.to_dict(),
            "diff": self.diff(a, b),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """``alike`` effects were the same in both; ``first`` is None where all are. ``differences``
    are how many places differ in all, the first of each branch."""

    a: Export
    b: Export
    alike: int
    first: Difference | None
    differences: int

    @property
    def same_input(self) -> bool:
        return bool(value(self.a.run.input, self.a) == value(self.b.run.input, self.b))

    @property
    def same_end(self) -> bool:
        """Whether they ended alike: state, and result or kind of error."""
        a, b = self.a.run, self.b.run
        kinds = [(run.error or {}).get("type") for run in (a, b)]
        results = bool(essence(value(a.result, self.a)) == essence(value(b.result, self.b)))
        return a.state == b.state and kinds[0] == kinds[1] and results

    @property
    def same(self) -> bool:
        return self.first is None and self.same_input and self.same_end


def compare(a: Export, b: Export) -> Comparison:
    """Compare what they did."""
    count = [0]
    found = sorted(_scope(sides(a), sides(b), (), count), key=lambda one: one.when)
    return Comparison(a, b, count[0], found[0] if found else None, len(found))


def diff(a: Any, b: Any, name_a: str, name_b: str) -> list[str]:
    """Lines of a unified diff of two JSON values."""
    return list(unified_diff(_lines(a), _lines(b), name_a, name_b, lineterm=""))


def _scope(
    a: Sequence[Side], b: Sequence[Side], path: tuple[str, ...], count: list[int]
) -> Iterator[Difference]:
    of_a, of_b = lanes(a), lanes(b)
    for name in dict.fromkeys([*of_a, *of_b]):
        for lane_a, lane_b in _pairs(of_a.get(name, []), of_b.get(name, [])):
            yield from _lane(lane_a, lane_b, path, count)


def _pairs(
    a: list[list[Side]], b: list[list[Side]]
) -> Iterator[tuple[Sequence[Side], Sequence[Side]]]:
    """Lanes that begin alike belong together, the others in order."""
    left = list(b)
    alone: list[list[Side]] = []
    for lane in a:
        other = next((one for one in left if _alike(one[0], lane[0])), None)
        if other is None:
            alone.append(lane)
            continue
        left.remove(other)
        yield lane, other
    for i in range(max(len(alone), len(left))):
        yield (alone[i] if i < len(alone) else ()), (left[i] if i < len(left) else ())


def _lane(
    a: Sequence[Side], b: Sequence[Side], path: tuple[str, ...], count: list[int]
) -> Iterator[Difference]:
    """The first difference of one branch, and those inside effects before it."""
    for i in range(max(len(a), len(b))):
        one = a[i] if i < len(a) else None
        other = b[i] if i < len(b) else None
        if one is None or other is None:
            yield Difference(ONLY_B if one is None else ONLY_A, one, other, path)
            return
        if (one.kind, one.name) != (other.kind, other.name):
            yield Difference(EFFECT, one, other, path)
            return
        if one.request != other.request:
            yield Difference(REQUEST, one, other, path)
            return
        inner = (*path, f"{one.kind} {one.name}")
        within = list(_scope(one.inside, other.inside, inner, count))
        if within:
            yield from within
            return
        if one.answer != other.answer:
            yield Difference(ANSWER, one, other, path)
            return
        count[0] += 1


def _alike(one: Side, other: Side) -> bool:
    return (one.kind, one.name, one.request) == (other.kind, other.name, other.request)


def _lines(what: Any) -> list[str]:
    if isinstance(what, str):
        return what.splitlines()
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
    return orjson.dumps(what, option=options).decode().splitlines()
