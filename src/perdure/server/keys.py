"""API keys: ``pk_<id>_<secret>``. The secret has 256 bits, is shown once, and only its SHA-256 is
kept: it is random, so a slow hash would add nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest

from perdure.errors import InvalidInput
from perdure.server.grants import GATEWAY, Grant
from perdure.store.base import Store
from perdure.store.rows import ApiKey

READ, WRITE, ADMIN = "runs:read", "runs:write", "admin"
SCOPES = (READ, WRITE, GATEWAY, ADMIN)  # admin covers the others


def generate(
    name: str, scopes: Iterable[str], *, now: datetime, lifetime: timedelta | None = None
) -> tuple[str, ApiKey]:
    """A new key's plaintext and what is kept of it. Raises InvalidInput for an unknown scope."""
    wanted = tuple(dict.fromkeys(scopes))
    Grant.read(wanted, "")
    unknown = [scope for scope in wanted if scope.partition(" ")[0] not in SCOPES]
    if unknown or not wanted:
        raise InvalidInput(
            f"A key needs scopes out of {', '.join(SCOPES)}; not {', '.join(unknown) or 'none'}."
        )
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    kept = ApiKey(
        id=key_id,
        name=name,
        hash=digest(secret),
        scopes=wanted,
        created_at=now,
        expires_at=None if lifetime is None else now + lifetime,
    )
    return f"pk_{key_id}_{secret}", kept


async def create(
    store: Store, name: str, scopes: Iterable[str], *, lifetime: timedelta | None = None
) -> tuple[str, ApiKey]:
    """Make a key and store it. The plaintext (first) can never be had again."""
    plaintext, key = generate(name, scopes, now=await store.now(), lifetime=lifetime)
    await store.add_key(key)
    return plaintext, key


def split(token: str) -> tuple[str, str] | None:
    """(id, secret) of a key as presented; None for what has not its form."""
    prefix, _, rest = token.partition("_")
    key_id, _, secret = rest.partition("_")
    return (key_id, secret) if prefix == "pk" and key_id and secret else None


def digest(secret: str) -> bytes:
    """What is kept of a secret."""
    return sha256(secret.encode()).digest()


def usable(key: ApiKey, now: datetime) -> bool:
    """Whether it is neither revoked nor expired."""
    return key.revoked_at is None and (key.expires_at is None or now < key.expires_at)


def fits(key: ApiKey, secret: str) -> bool:
    """Whether ``secret`` is the key's, in constant time."""
    return compare_digest(key.hash, digest(secret))


def covers(scopes: Iterable[str], needed: str) -> bool:
    """Whether one of ``scopes`` allows what needs ``needed``."""
    return any(scope.partition(" ")[0] in (needed, ADMIN) for scope in scopes)
