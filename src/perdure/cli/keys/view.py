"""A key as ``--json`` shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from perdure.store.rows import ApiKey


def view(key: ApiKey) -> dict[str, Any]:
    """Everything but the secret, which nobody has."""
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "created_at": key.created_at.isoformat(),
        "expires_at": _iso(key.expires_at),
        "last_used_at": _iso(key.last_used_at),
        "revoked_at": _iso(key.revoked_at),
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
