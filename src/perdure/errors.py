"""The one error tree of Perdure.

Every error carries a stable ``code``, the HTTP ``status`` it becomes on native routes, the
command line's ``exit_code``, whether trying again may help (``retryable``) and a ``hint`` that
says what to do. HTTP problems and exit codes are derived from here and nowhere else.

    PerdureError
    ├── UsageError               what the caller asked for cannot be right
    │   ├── ConfigError · TargetError · MissingExtra · CodecError · BoundaryError
    │   ├── InvalidInput · TooLarge · NotFound · Conflict · IdempotencyMismatch
    │   └── Unauthorized · Forbidden
    ├── Unavailable              the world is not ready: try again
    │   ├── StoreUnavailable (BlobMissing) · Backpressure · NoHeadroom · PortInUse · Unreachable
    │   └── SchemaOutdated · SchemaNewer (not retryable: someone must act)
    ├── WaitOver                 a client's patience is over; the run goes on
    ├── LeaseLost                another worker owns this run
    ├── RunError                 how a run ended, told to whoever waited for it
    │   ├── RunFailed · RunDead · RunCancelled · RunTimeout · LoopGuard
    └── EffectError              what agent code sees of an effect
        ├── EffectFailed · EffectTimeout · NotDone · Uncertain · Diverged

``Parked`` stands outside the tree: it is control flow, a BaseException, so that ``except
Exception`` in agent code cannot swallow it (rule C3).
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "Backpressure", "BlobMissing", "BoundaryError", "CodecError", "ConfigError", "Conflict",
    "Diverged", "EffectError", "EffectFailed", "EffectTimeout", "Forbidden", "IdempotencyMismatch",
    "InvalidInput", "LeaseLost", "LoopGuard", "MissingExtra", "NoHeadroom", "NotDone",
    "NotFound", "Parked", "PerdureError", "PortInUse", "RunCancelled", "RunDead", "RunError",
    "RunFailed", "RunTimeout", "SchemaNewer", "SchemaOutdated", "StoreUnavailable", "TargetError",
    "TooLarge", "Unauthorized", "Unavailable", "Uncertain", "Unreachable", "UsageError", "WaitOver",
    "tree",
]  # fmt: skip


class PerdureError(Exception):
    """Base of everything Perdure raises on purpose.

    ``detail`` holds machine-readable facts (JSON values) that go into HTTP problems and
    ``--json`` output beside the message.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str | None] = None

    def __init__(self, message: str, *, hint: str | None = None, **detail: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint if hint is not None else self.default_hint
        self.detail = detail

    def to_dict(self) -> dict[str, Any]:
        """The error as JSON values: code, message, hint, retryable and details."""
        out: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.hint:
            out["hint"] = self.hint
        if self.retryable:
            out["retryable"] = True
        out.update(self.detail)
        return out


class UsageError(PerdureError):
    """What the caller asked for cannot be right."""

    code, status, exit_code = "usage", 400, 2


class ConfigError(UsageError):
    """A setting is wrong; the message names it and where its value came from."""

    code, status, exit_code = "config", 500, 2


class TargetError(UsageError):
    """``module:attribute`` or ``file.py:attribute`` does not lead to an agent."""

    code, status, exit_code = "target", 500, 2


class MissingExtra(UsageError):
    """An optional dependency is not installed; the hint names the extra."""

    code, status, exit_code = "missing_extra", 500, 3

    def __init__(self, what: str, extra: str, **detail: Any) -> None:
        super().__init__(
            f"{what} needs the extra '{extra}', which is not installed.",
            hint=f"pip install 'perdure[{extra}]'",
            extra=extra,
            **detail,
        )


class CodecError(UsageError):
    """A value cannot be written as JSON or read back; the message names the place."""

    code, status = "codec", 422


class BoundaryError(UsageError):
    """A Perdure call was made where it cannot work (outside a run, inside a ``once`` body,
    or blocking on the event loop)."""

    code, status = "boundary", 500


class InvalidInput(UsageError):
    """A request's content is malformed or out of bounds."""

    code, status = "invalid_input", 422


class TooLarge(UsageError):
    """A body, value or depth is over its limit."""

    code, status = "too_large", 413


class NotFound(UsageError):
    """No such agent, run, key or route."""

    code, status, exit_code = "not_found", 404, 4


class Conflict(UsageError):
    """The run's state does not allow this."""

    code, status, exit_code = "conflict", 409, 5


class IdempotencyMismatch(UsageError):
    """The Idempotency-Key was used before with another body (rule X3)."""

    code, status, exit_code = "idempotency_mismatch", 422, 5


class Unauthorized(UsageError):
    """No API key, or one that is unknown, expired or revoked."""

    code, status, exit_code = "unauthorized", 401, 6


class Forbidden(UsageError):
    """The API key's scopes do not cover this."""

    code, status, exit_code = "forbidden", 403, 6


class Unavailable(PerdureError):
    """The world is not ready."""

    code, status, exit_code, retryable = "unavailable", 503, 7, True


class StoreUnavailable(Unavailable):
    """The database cannot be reached or is starting up. Runs are delayed, none is lost."""

    code = "store_unavailable"


class BlobMissing(StoreUnavailable):
    """A large value is not where blobs are kept, or is damaged there."""

    code, exit_code, retryable = "blob_missing", 7, False


class SchemaOutdated(Unavailable):
    """The database's schema is older than this Perdure."""

    code, exit_code, retryable = "schema_outdated", 8, False
    default_hint = "Run: perdure db upgrade"


class SchemaNewer(Unavailable):
    """The database's schema is newer than this Perdure; nothing was touched."""

    code, exit_code, retryable = "schema_newer", 8, False
    default_hint = "Upgrade the perdure package to the version that upgraded this database."


class Backpressure(Unavailable):
    """Intake is refused for now; ``retry_after`` is in seconds."""

    code, status = "backpressure", 429

    def __init__(self, message: str, *, retry_after: float, **detail: Any) -> None:
        super().__init__(message, retry_after=retry_after, **detail)
        self.retry_after = retry_after


class NoHeadroom(Unavailable):
    """A whole run of the agent has no room in its limits or budgets, and is not to wait."""

    code, status, retryable = "no_headroom", 429, False

    def __init__(self, message: str, *, retry_after: float | None = None, **detail: Any) -> None:
        if retry_after is not None:
            detail["retry_after"] = retry_after
        super().__init__(message, **detail)
        self.retry_after = retry_after


class PortInUse(Unavailable):
    """The address to listen on is taken."""

    code, retryable = "port_in_use", False


class Unreachable(Unavailable):
    """A client's request got no answer, however often it was sent."""

    code = "unreachable"


class WaitOver(PerdureError, TimeoutError):
    """A client waited as long as it was told to. The run goes on."""

    code, status, exit_code, retryable = "wait_over", 504, 13, True


class LeaseLost(PerdureError):
    """Another worker owns this run now. Stop; write nothing more."""

    code, status = "lease_lost", 409


class RunError(PerdureError):
    """How a run ended, told to whoever waited for its result."""

    code, exit_code = "run_error", 10


class RunFailed(RunError):
    """The agent's own final word was an error."""

    code, exit_code = "run_failed", 10


class RunDead(RunError):
    """Attempts are used up, or the run kept taking its worker down."""

    code, exit_code = "run_dead", 11


class RunCancelled(RunError):
    """Someone cancelled the run."""

    code, status, exit_code = "run_cancelled", 409, 12


class RunTimeout(RunError):
    """The run's own deadline passed."""

    code, status, exit_code = "run_timeout", 504, 13


class LoopGuard(RunError):
    """The run went over its limit of model calls, effects or identical repeats (rule X4)."""

    code, exit_code = "loop_guard", 14


class EffectError(PerdureError):
    """What agent code sees of an effect that went wrong."""

    code = "effect"


class EffectFailed(EffectError):
    """A recorded failure whose original class is not imported here (rule F2)."""

    code = "effect_failed"


class EffectTimeout(EffectError, TimeoutError):
    """A step or tool ran longer than its timeout."""

    code, status, retryable = "effect_timeout", 504, True


class NotDone(EffectError):
    """Raised by a ``once`` tool, or its ``reconcile``, to say: it certainly did not happen."""

    code = "not_done"


class Uncertain(EffectError):
    """Whether a ``once`` effect happened is not known; an operator has to resolve it."""

    code, status = "uncertain", 409


class Diverged(EffectError):
    """The agent's code no longer matches a journal entry that may have touched the world."""

    code, status = "diverged", 409


class Parked(BaseException):
    """Unwinds synchronous agent code when its attempt ends between two effects. Not an error:
    let it pass."""


def tree() -> list[type[PerdureError]]:
    """Every error class, parents before children; the reference docs are made from it."""

    def walk(cls: type[PerdureError]) -> list[type[PerdureError]]:
        return [cls, *(x for sub in cls.__subclasses__() for x in walk(sub))]

    return walk(PerdureError)
