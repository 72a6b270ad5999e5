"""Digests: the short names of what shapes an effect's answer (rule K5) and of effects themselves.

BLAKE2b (RFC 7693) because it is in the standard library and the fastest there. 16 bytes for
contents (no two differing requests of one run will meet), 12 for keys inside one run.
"""

from __future__ import annotations

from hashlib import blake2b

DIGEST_SIZE = 16
KEY_SIZE = 12


def digest(data: bytes) -> bytes:
    """The digest of canonical bytes (see ``core.codec.canonical``)."""
    return blake2b(data, digest_size=DIGEST_SIZE).digest()


def effect_key(
    scope: bytes, branch: str, kind: str, name: str, content: bytes, occurrence: int
) -> bytes:
    """The name of one effect in its run: the same in every attempt that behaves alike.

    ``scope`` is the enclosing effect's key (b"" at the top), ``content`` the request's digest,
    ``occurrence`` counts equal requests of one branch from 0. Lengths are fixed or separated by
    NUL, which names cannot contain, so that no two different effects hash the same bytes.
    """
    text = f"{branch}\0{kind}\0{name}\0{occurrence}\0".encode()
    return blake2b(b"%c%b%b%b" % (len(scope), scope, content, text), digest_size=KEY_SIZE).digest()
