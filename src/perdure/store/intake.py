"""An agent's intake as JSON, the same in both stores."""

from __future__ import annotations

from datetime import timedelta

import orjson

from perdure.store.rows import Intake


def intake_json(intake: Intake) -> str:
    """``timeout`` is in seconds."""
    timeout = None if intake.timeout is None else intake.timeout.total_seconds()
    return orjson.dumps(
        {
            "max_attempts": intake.max_attempts,
            "priority": intake.priority,
            "cap": intake.cap,
            "timeout": timeout,
        }
    ).decode()


def to_intake(text: str) -> Intake:
    """From JSON."""
    document = orjson.loads(text)
    seconds = document.pop("timeout")
    return Intake(**document, timeout=None if seconds is None else timedelta(seconds=seconds))
