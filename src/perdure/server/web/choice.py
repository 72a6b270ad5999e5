"""Which members of an answer a client wants: ``?fields=id,state``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from perdure.errors import InvalidInput


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
