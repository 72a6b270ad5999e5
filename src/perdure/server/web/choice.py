"""What a query asks for, and which members of an answer: ``?fields=id,state``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from starlette.requests import Request

from perdure.errors import InvalidInput

MAX_TEXT = 1000  # characters of a parameter's value


def fields(text: str | None, known: Collection[str]) -> tuple[str, ...] | None:
    """The names in ``?fields=``; None where all are wanted. Raises InvalidInput for an unknown
    one."""
    if text is None:
        return None
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in known:
            raise InvalidInput(
                f"There is no field {name[:100]!r}.",
                hint=f"Fields: {', '.join(sorted(known))}",
                parameter="fields",
            )
    return names


def chosen(document: Mapping[str, Any], names: tuple[str, ...] | None) -> dict[str, Any]:
    """``document`` with these members alone; how a payload is encoded stays beside it."""
    if names is None:
        return dict(document)
    kept = set(names) | {f"{name}_encoding" for name in names}
    return {name: value for name, value in document.items() if name in kept}


def single(request: Request, known: set[str]) -> dict[str, str]:
    """Parameters, each there once at most. Raises InvalidInput."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise InvalidInput(
                f"There is no parameter {name[:100]!r}.",
                hint=f"Parameters: {', '.join(sorted(known)) or 'none'}",
                parameter=name[:100],
            )
        if "\0" in value or len(value) > MAX_TEXT:
            raise InvalidInput(
                f"{name} has at most {MAX_TEXT} characters, and no NUL.", parameter=name
            )
        if name in found:
            raise InvalidInput(f"{name} is there twice.", parameter=name)
        found[name] = value
    return found
