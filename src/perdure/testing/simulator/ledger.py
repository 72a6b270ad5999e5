"""What was asked, what was answered, and so what was paid twice.

Invariants: a row is closed once; totals and counts by digest are kept as calls come and go, so no
call costs more because there were many before it. Rows and digests over the bound are forgotten,
oldest first; totals never are. Not locked: its owner does that.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

__all__ = ["Counts", "DigestCount", "Ledger", "Row", "Status"]

Status = Literal["answered", "refused", "broken", "aborted"]


@dataclass(slots=True)
class Row:
    """One call. Times are seconds since the epoch. ``status`` is None while it is in flight.

    answered: the whole response was handed to the socket. refused: an error response was.
    broken: the simulator cut the connection or spoilt the stream. aborted: the client went away
    (or the simulator stopped) before the answer was complete. ``input_tokens`` and
    ``output_tokens`` are the answer's usage; ``billed_input`` and ``billed_output`` what the
    provider bills (see ``quota.books``). ``limited``: the limit that refused the call.
    """

    n: int
    format: str
    path: str
    model: str
    digest: str
    occurrence: int
    streamed: bool
    started: float
    finished: float | None = None
    status: Status | None = None
    http_status: int | None = None
    fault: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    target: str = ""
    key: str = ""
    cache_read: int = 0
    cache_write: int = 0
    billed_input: int = 0
    billed_output: int = 0
    limited: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(slots=True)
class DigestCount:
    """How often one question was asked and answered."""

    started: int = 0
    answered: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals since start or reset. Tokens are those of answered calls. ``repeated`` maps each
    digest that was answered more than once to how often: what was paid twice."""

    started: int = 0
    answered: int = 0
    refused: int = 0
    broken: int = 0
    aborted: int = 0
    held: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    repeated: Mapping[str, int] = field(default_factory=dict)

    @property
    def finished(self) -> int:
        """Calls that are over, however they ended."""
        return self.answered + self.refused + self.broken + self.aborted

    @property
    def in_flight(self) -> int:
        """Calls that are not over."""
        return self.started - self.finished

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, with ``finished`` and ``in_flight``."""
        return {**asdict(self), "finished": self.finished, "in_flight": self.in_flight}


class Ledger:
    """The rows and the counts. ``limit`` bounds both rows and digests."""

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError("a ledger keeps at least one row")
        self._limit = limit
        self.reset()

    def reset(self) -> None:
        """Forgets everything; calls still in flight will not be counted when they end."""
        self.started = 0
        self.ended: dict[Status, int] = {"answered": 0, "refused": 0, "broken": 0, "aborted": 0}
        self.input_tokens = 0
        self.output_tokens = 0
        self.repeated: dict[str, int] = {}
        self.rows: deque[Row] = deque(maxlen=self._limit)
        self.digests: OrderedDict[str, DigestCount] = OrderedDict()
        self._first = object()  # marks this generation: see close

    def open(
        self, *, format: str, path: str, model: str, digest: str, streamed: bool, now: float,
        target: str = "", key: str = "",
    ) -> tuple[Row, object]:  # fmt: skip
        """Counts a call in; returns its row and the token that ``close`` wants back."""
        self.started += 1
        count = self.digests.get(digest)
        if count is None:
            if len(self.digests) >= self._limit:
                forgotten, _ = self.digests.popitem(last=False)
                self.repeated.pop(forgotten, None)
            count = self.digests[digest] = DigestCount()
        count.started += 1
        row = Row(
            self.started, format, path, model, digest, count.started, streamed, now, target=target,
            key=key,
        )  # fmt: skip
        self.rows.append(row)
        return row, self._first

    def close(self, row: Row, token: object, status: Status, now: float) -> bool:
        """Ends a call; False when it had ended, or began before a reset."""
        if row.status is not None or token is not self._first:
            return False
        row.status, row.finished = status, now
        self.ended[status] += 1
        if status == "answered":
            self.input_tokens += row.input_tokens
            self.output_tokens += row.output_tokens
            count = self.digests.get(row.digest)
            if count is not None:
                count.answered += 1
                if count.answered > 1:
                    self.repeated[row.digest] = count.answered
        return True

    def counts(self, held: int) -> Counts:
        """The totals as a value of their own."""
        return Counts(
            self.started, **self.ended, held=held, input_tokens=self.input_tokens,
            output_tokens=self.output_tokens, repeated=dict(self.repeated),
        )  # fmt: skip
