"""What PostgreSQL's and the driver's errors mean to a caller of the store: translated here, once.

A mistake in Perdure's own SQL stays what it is.
"""

from __future__ import annotations

from typing import Any, cast

from asyncpg import exceptions as pg

from perdure.core.run import RunState
from perdure.errors import (
    ConfigError,
    Conflict,
    IdempotencyMismatch,
    InvalidInput,
    PerdureError,
    SchemaOutdated,
    StoreUnavailable,
)
from perdure.store.postgres.address import Address

LATER = "Runs are delayed, none is lost. Is it up, and is that its address (PERDURE_STORE)?"

# SQLSTATE classes and codes after which trying again may help.
_AWAY = ("08", "53", "57", "58")
_AWAY_CODES = {
    "25006",  # read-only: a standby, after a failover
    "40001", "40P01", "55P03",  # serialization, deadlock, lock timeout
}  # fmt: skip
_REFUSED = ("28", "3D")  # authorization, unknown database
_NO_SCHEMA = {"42P01", "42883", "42704", "3F000", "42703"}
_NO_TEXT = {"22021", "22P05"}
# The connection is of no use after these.
_ENDED = ("08", "57P")


def breaks(error: BaseException) -> bool:
    """Whether to leave the connection on which this happened."""
    if isinstance(error, pg.PostgresError):
        code = error.sqlstate or ""
        return code.startswith(_ENDED) or code == "25006"
    # The driver's own refusals (wrong arguments) leave the connection as it was.
    return not isinstance(error, pg.InterfaceError | pg.DataError) or _is_closed(error)


def is_deadlock(error: BaseException) -> bool:
    return isinstance(error, pg.DeadlockDetectedError | pg.SerializationError)


def translate(error: BaseException, address: Address, *, lost: bool = False) -> BaseException:
    """The error as a caller of the store is to see it. ``lost``: the connection broke under the
    driver, which then stumbles in many ways."""
    if isinstance(error, PerdureError):
        return error
    if isinstance(error, pg.PostgresError):
        return _translate_server(error, address)
    if isinstance(error, pg.ClientConfigurationError):
        return ConfigError(f"store.url cannot be used: {error}.", hint="Check store.url.")
    if isinstance(error, TimeoutError):
        return StoreUnavailable(
            f"The database at {address.place} did not answer in time.", hint=LATER
        )
    if lost or isinstance(error, OSError | pg.InternalClientError) or _is_closed(error):
        return StoreUnavailable(
            f"The database at {address.place} cannot be reached: {_first_line(error)}.", hint=LATER
        )
    return error


def _translate_server(error: Any, address: Address) -> BaseException:
    code, text = error.sqlstate or "", _first_line(error)
    if code == "PD409":
        state = RunState(error.detail)
        # The server has no words for states; those of frozen migrations cannot be mended.
        spoken = text.replace(f" is {state}", f" {state.says}")
        return Conflict(f"{spoken}.", state=error.detail)
    if code == "PD422":
        return IdempotencyMismatch(text, hint="Use a new key for a new request.", run=error.detail)
    if code in _NO_TEXT:
        return InvalidInput(
            "A name or text contains a character that PostgreSQL cannot store (such as NUL)."
        )
    if code.startswith(_REFUSED):
        return ConfigError(
            f"The database at {address.place} refuses us: {text}.",
            hint="Check user, password and database in store.url.",
        )
    if code == "42501":
        return ConfigError(
            f"The database at {address.place} does not let us: {text}.",
            hint="The schema 'perdure' must belong to the user in store.url.",
        )
    if code in _NO_SCHEMA:
        return SchemaOutdated(f"The database at {address.place} is not ready for us: {text}.")
    if code.startswith(_AWAY) or code in _AWAY_CODES:
        return StoreUnavailable(
            f"The database at {address.place} cannot serve us: {text}.", hint=LATER
        )
    return cast("BaseException", error)


def _is_closed(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, pg.InterfaceError) and ("closed" in text or "terminat" in text)


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")
