"""Logs that say which run they are about.

``RunContext`` is a ``logging.Filter`` that lets everything through and adds to each record what the
code that logged it belongs to: run, attempt, effect and trace. It goes on handlers, because only
those see the lines of every logger, the agent's own and its libraries' as well. Nothing of the
process's logging is changed but by ``configure``, which the command line calls, and which leaves
alone whatever handlers there are already.

Fields, in JSON lines and as attributes of records; those without a value are left out:

``time``         ISO 8601, UTC
``level``        debug, info, warning, error or critical
``logger``       the logger's name
``message``
``run_id``       the run, where the line was logged from inside one or is about one
``agent``        its agent
``attempt``      1, 2, …; rises with failures only
``epoch``        rises with every claim
``replaying``    true where the code runs again over what is recorded: this line was logged before
``effect``       key of the effect whose body logged it, as in ``perdure runs show --json``
``effect_kind``  ``tool``, ``step``, …
``effect_name``
``trace_id``     the trace that the run belongs to (W3C, 32 hex digits)
``exception``    the traceback, of an error that was logged with one
``extra``        what the line was given as ``extra={…}``
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import orjson

from perdure.core.ports import current_boundary
from perdure.core.trace import trace_id

FORMATS: Final = ("text", "json")
LEVELS: Final = ("debug", "info", "warning", "error")
FIELDS: Final = (
    "run_id", "agent", "attempt", "epoch", "replaying", "effect", "effect_kind", "effect_name",
    "trace_id",
)  # fmt: skip
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", *FIELDS}


class RunContext(logging.Filter):
    """Adds FIELDS to records. What a record has already (``extra={"run_id": …}``) stays."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in context().items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True


def context() -> dict[str, Any]:
    """FIELDS of the calling code; empty outside of runs."""
    place: Any = current_boundary.get()
    if place is None:
        return {}
    found: dict[str, Any] = {"run_id": place.run_id, "agent": place.agent}
    lease = getattr(getattr(place, "attempt", None), "lease", None)
    if lease is not None:
        found["attempt"] = lease.attempts + 1
        found["epoch"] = lease.epoch
        if place.attempt.replaying:
            found["replaying"] = True
        found["trace_id"] = trace_id(lease.run_id, lease.trace)
    effect = getattr(place, "effect", None)
    if effect is not None:
        found["effect"] = effect.key.hex()
        found["effect_kind"] = str(effect.kind)
        found["effect_name"] = effect.name
    return found


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the run that it belongs to."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in FIELDS:
            if (value := getattr(record, name, None)) is not None:
                line[name] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            line["exception"] = record.exc_text
        extra = {k: v for k, v in vars(record).items() if k not in _OWN and not k.startswith("_")}
        if extra:
            line["extra"] = extra
        try:
            return orjson.dumps(line, str, orjson.OPT_NON_STR_KEYS).decode()
        except (TypeError, ValueError):  # text that is no UTF-8, numbers over 64 bits, circles
            return orjson.dumps({k: _printable(v) for k, v in line.items()}).decode()


class Text(logging.Formatter):
    """A line for people: time, level, logger, message, and in brackets what it belongs to."""

    def __init__(self, *, dated: bool = True) -> None:
        """``dated``: with the day and milliseconds, as for a file; else the time of day."""
        super().__init__(
            "%(asctime)s %(levelname)-7s %(name)s: %(message)s", None if dated else "%H:%M:%S"
        )

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        parts = []
        run_id = getattr(record, "run_id", None)
        if run_id is not None and str(run_id) not in text:
            parts.append(f"run {run_id}")
        if getattr(record, "effect_name", None) is not None:
            parts.append(f"{getattr(record, 'effect_kind', '')} {record.effect_name}".strip())  # type: ignore[attr-defined]
        return f"{text}  [{', '.join(parts)}]" if parts else text


class Handler(logging.StreamHandler[TextIO]):
    """What ``configure`` puts on the root logger; ready to be used elsewhere as well."""

    def __init__(self, format: str = "text", stream: TextIO | None = None) -> None:
        """``format`` is one of FORMATS. Raises ValueError for any other."""
        if format not in FORMATS:
            raise ValueError(f"{format!r} is no format of log lines: {', '.join(FORMATS)}")
        super().__init__(stream)
        self.addFilter(RunContext())
        self.setFormatter(JsonLines() if format == "json" else Text(dated=not self.stream.isatty()))


def configure(format: str, level: str, others: str) -> None:
    """For a process of Perdure's own: lines go to stderr in ``format``. ``level`` is that of
    Perdure's loggers, ``others`` of everyone else's, the agent's included. Where the root logger
    has handlers of someone else's (a test, the user's own logging) only Perdure's level is set."""
    root = logging.getLogger()
    foreign = [handler for handler in root.handlers if not isinstance(handler, Handler)]
    for handler in root.handlers[:]:
        if isinstance(handler, Handler):
            root.removeHandler(handler)
    if not foreign:
        root.addHandler(Handler(format, sys.stderr))
        root.setLevel(others.upper())
    logging.getLogger("perdure").setLevel(level.upper())


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value if isinstance(value, int) and abs(value) < 2**53 else repr(value)
