"""What an agent is run under: its policy, and the pure rule of what an attempt's error means."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from perdure.core.guard import Limits
from perdure.core.matching import Changed
from perdure.core.retry import RetryPolicy, Severity
from perdure.errors import PerdureError
from perdure.store.rows import Intake

# Errors of the code itself: the same code fails alike, so another try only costs.
_BUGS = (
    AttributeError, ImportError, NameError, NotImplementedError, SyntaxError, SystemExit, TypeError,
)  # fmt: skip
# HTTP answers that stay the same however often one asks (408, 409 and 429 do not).
_FATAL_STATUS = frozenset({400, 401, 402, 403, 404, 405, 410, 413, 422, 451})


@dataclass(frozen=True, slots=True)
class Policy:
    """How runs of an agent are treated. Durations bound real time.

    ``undeclared``: what happens with a tool without a promise that was cut by a crash: ``rerun``
    it (with an event) or ``ask`` an operator. ``park_after``: how long a wait of unknown length
    stays warm; ``warm_sleep``: sleeps up to this are slept in place. ``cap``: at most so many runs
    of the agent at a time, over all workers.
    """

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeout: timedelta | None = None
    limits: Limits = field(default_factory=Limits)
    changed: Changed = Changed.REUSE
    undeclared: str = "rerun"
    fatal: tuple[type[BaseException], ...] = ()
    park_after: timedelta = timedelta(seconds=1)
    warm_sleep: timedelta = timedelta(seconds=5)
    cancel_grace: timedelta = timedelta(seconds=10)
    max_entries: int = 50_000
    cap: int | None = None
    priority: int = 0
    durability: str = "journal"  # or "none": nothing is kept of its runs but what they cost
    requests: bool = True  # keep model requests (Z1)

    @property
    def intake(self) -> Intake:
        """What a new run takes over."""
        return Intake(self.retry.attempts, self.priority, self.cap, self.timeout)

    def severity(self, error: BaseException) -> Severity:
        """Whether an error out of the agent is worth another attempt."""
        if isinstance(error, PerdureError):
            fatal = not error.retryable and type(error).__name__ not in _WORTH_ANOTHER
            return Severity.FATAL if fatal else Severity.RETRYABLE
        if isinstance(error, (*_BUGS, *self.fatal)):
            return Severity.FATAL
        status = getattr(error, "status_code", None)
        if isinstance(status, int) and status in _FATAL_STATUS:
            return Severity.FATAL
        return Severity.RETRYABLE


# A replayed failure or a tool's own word may end otherwise next time.
_WORTH_ANOTHER = frozenset({"EffectFailed", "EffectTimeout", "NotDone"})


def retry_after(error: BaseException) -> timedelta | None:
    """What an SDK's error says about when to come again (its response's ``retry-after``)."""
    own = getattr(error, "retry_after", None)
    if isinstance(own, int | float):
        return timedelta(seconds=own)
    headers = getattr(getattr(error, "response", None), "headers", None)
    try:
        return timedelta(seconds=float(headers["retry-after"])) if headers else None
    except (KeyError, ValueError, TypeError):
        return None
