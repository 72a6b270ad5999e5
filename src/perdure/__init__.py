"""Perdure runs AI agents in production.

The public names, and nothing else: each is imported when it is first used, so that
``import perdure`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

if TYPE_CHECKING:
    from perdure.errors import NotDone as NotDone
    from perdure.errors import PerdureError as PerdureError

# name -> module that defines it
_PUBLIC = {
    "NotDone": "perdure.errors",
    "PerdureError": "perdure.errors",
}

__all__ = ["NotDone", "PerdureError", "__version__"]


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
