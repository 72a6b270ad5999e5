"""Perdure runs AI agents in production.

The public names, and nothing else: each is imported when it is first used, so that
``import perdure`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from perdure.app import App as App
    from perdure.client.asynchronous import AsyncClient as AsyncClient
    from perdure.client.blocking import Client as Client
    from perdure.core.guard import Limits as Limits
    from perdure.core.retry import RetryPolicy as RetryPolicy
    from perdure.errors import NotDone as NotDone
    from perdure.errors import PerdureError as PerdureError
    from perdure.runtime.continuing import continue_as as continue_as
    from perdure.runtime.declared import idempotent as idempotent
    from perdure.runtime.declared import once as once
    from perdure.runtime.declared import reads as reads
    from perdure.runtime.effects import step as step
    from perdure.runtime.effects import tool as tool
    from perdure.runtime.handing_over import subprocess_env as subprocess_env
    from perdure.runtime.verbs import current as current
    from perdure.runtime.verbs import emit as emit
    from perdure.runtime.verbs import idempotency_key as idempotency_key
    from perdure.runtime.verbs import in_run as in_run
    from perdure.runtime.verbs import now as now
    from perdure.runtime.verbs import sleep as sleep
    from perdure.runtime.verbs import uuid4 as uuid4
    from perdure.runtime.verbs import wait_for as wait_for

# name -> module that defines it
_PUBLIC = {
    "App": "perdure.app",
    "AsyncClient": "perdure.client.asynchronous",
    "Client": "perdure.client.blocking",
    "Limits": "perdure.core.guard",
    "NotDone": "perdure.errors",
    "PerdureError": "perdure.errors",
    "RetryPolicy": "perdure.core.retry",
    "continue_as": "perdure.runtime.continuing",
    "current": "perdure.runtime.verbs",
    "difficulty": "perdure.core.labels",
    "emit": "perdure.runtime.verbs",
    "feature": "perdure.core.labels",
    "idempotency_key": "perdure.runtime.verbs",
    "idempotent": "perdure.runtime.declared",
    "in_run": "perdure.runtime.verbs",
    "now": "perdure.runtime.verbs",
    "once": "perdure.runtime.declared",
    "reads": "perdure.runtime.declared",
    "sleep": "perdure.runtime.verbs",
    "step": "perdure.runtime.effects",
    "subprocess_env": "perdure.runtime.handing_over",
    "tool": "perdure.runtime.effects",
    "uuid4": "perdure.runtime.verbs",
    "wait_for": "perdure.runtime.verbs",
}

__all__ = [
    "App",
    "AsyncClient",
    "Client",
    "Limits",
    "NotDone",
    "PerdureError",
    "RetryPolicy",
    "__version__",
    "continue_as",
    "current",
    "difficulty",
    "emit",
    "feature",
    "idempotency_key",
    "idempotent",
    "in_run",
    "now",
    "once",
    "reads",
    "sleep",
    "step",
    "subprocess_env",
    "tool",
    "uuid4",
    "wait_for",
]


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module 'perdure' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
