"""Metrics as Prometheus text (exposition format 0.0.4): counters, gauges and histograms, and the
one histogram this process keeps itself: how long HTTP requests take.

Labels are names that the operator chose (agents, routes, states), never ids or inputs of users.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from perdure.core.tallies import BOUNDS, Spread

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Family:
    """All samples of one metric. ``samples`` are (suffix of the name, labels, value)."""

    name: str
    kind: str  # counter | gauge | histogram
    help: str
    samples: list[tuple[str, Labels, float]] = field(default_factory=list)

    def add(self, value: float, suffix: str = "", **labels: str) -> None:
        self.samples.append((suffix, tuple(labels.items()), value))


def render(families: Iterable[Family]) -> str:
    """The text. A family without samples is left out."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {_escape(family.help, quote=False)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for suffix, labels, value in family.samples:
            inside = ",".join(f'{name}="{_escape(text)}"' for name, text in labels)
            braces = f"{{{inside}}}" if inside else ""
            lines.append(f"{family.name}{suffix}{braces} {_number(value)}")
    return "\n".join(lines) + "\n" if lines else ""


def from_counters(counters: Mapping[tuple[str, Labels], int]) -> list[Family]:
    """A process's own counters, by name."""
    families: dict[str, Family] = {}
    for (name, labels), count in sorted(counters.items()):
        family = families.setdefault(name, Family(name, "counter", "Counted by this process."))
        family.samples.append(("", labels, count))
    return list(families.values())


def from_spreads(spreads: Mapping[tuple[str, Labels], Spread]) -> list[Family]:
    """A process's own histograms, by name."""
    families: dict[str, Family] = {}
    for (name, labels), spread in sorted(spreads.items(), key=lambda item: item[0]):
        family = families.setdefault(name, Family(name, "histogram", "Seconds, in this process."))
        total = 0
        for bound, count in zip((*BOUNDS, float("inf")), spread.counts, strict=True):
            total += count
            family.add(total, "_bucket", **dict(labels), le=_number(bound))
        family.add(spread.total, "_sum", **dict(labels))
        family.add(total, "_count", **dict(labels))
    return list(families.values())


class Traffic:
    """HTTP requests of this process: how many, and how long until their answer began."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, int]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        self.open = 0

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        self._counts[method, route, status] += 1
        buckets = self._buckets.get(route)
        if buckets is None:
            buckets = self._buckets[route] = [0] * (len(BUCKETS) + 1)
        buckets[bisect_left(BUCKETS, seconds)] += 1
        self._sums[route] = self._sums.get(route, 0.0) + seconds

    def families(self) -> list[Family]:
        requests = Family("perdure_http_requests_total", "counter", "HTTP requests answered.")
        for (method, route, status), count in sorted(self._counts.items()):
            requests.add(count, method=method, route=route, status=str(status))
        duration = Family(
            "perdure_http_request_duration_seconds",
            "histogram",
            "Time from a request to the beginning of its answer.",
        )
        for route, buckets in sorted(self._buckets.items()):
            total = 0
            for bound, count in zip((*BUCKETS, float("inf")), buckets, strict=True):
                total += count
                duration.add(total, "_bucket", route=route, le=_number(bound))
            duration.add(self._sums[route], "_sum", route=route)
            duration.add(total, "_count", route=route)
        open_now = Family("perdure_http_requests_open", "gauge", "HTTP requests under way.")
        open_now.add(self.open)
        return [requests, duration, open_now]


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def _escape(text: str, *, quote: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text
