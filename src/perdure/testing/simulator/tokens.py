"""Deterministic token counts and ids.

One token is four bytes of UTF-8, rounded up. A request's input tokens are those of its canonical
JSON (sorted keys) without the fields that do not shape the answer; a reply's output tokens are
those of its text, its tools' names and its arguments' JSON together, at least 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

__all__ = ["NEUTRAL_FIELDS", "canonical", "count_tokens", "digest_of", "ident", "label_of"]

_EVERYWHERE = frozenset({"metadata", "service_tier", "store", "stream", "stream_options", "user"})
_OPENAI = _EVERYWHERE | {
    "background", "include", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
    "safety_identifier",
}  # fmt: skip

# Request fields that say how an answer is delivered, billed, cached or filed, not what it is.
# ``stream`` is among them: the same question asked whole and streamed was paid for twice.
NEUTRAL_FIELDS: Mapping[str, frozenset[str]] = {
    "anthropic": _EVERYWHERE | {"cache_control", "diagnostics", "inference_geo"},
    "chat": _OPENAI,
    "responses": _OPENAI,
    "google": frozenset({"labels", "stream"}),
}


def canonical(format: str, body: Mapping[str, Any]) -> bytes:
    """What shapes the answer, as JSON with sorted keys."""
    neutral = NEUTRAL_FIELDS[format]
    kept = {key: value for key, value in body.items() if key not in neutral}
    return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)


def digest_of(format: str, body: Mapping[str, Any], shaped: bytes | None = None) -> str:
    """The digest under which the ledger counts a request: 32 hex digits. ``shaped`` is
    ``canonical(format, body)``, for who has it already."""
    data = canonical(format, body) if shaped is None else shaped
    return hashlib.blake2b(data, digest_size=16, key=format.encode()).hexdigest()


def count_tokens(data: str | bytes) -> int:
    """ceil(UTF-8 bytes / 4)."""
    size = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
    return (size + 3) // 4


def ident(prefix: str, digest: str, occurrence: int, index: int = 0) -> str:
    """An id made from a request's digest, its occurrence and a place in the answer alone."""
    seed = f"{digest}:{occurrence}:{index}".encode()
    return prefix + hashlib.blake2b(seed, digest_size=12, person=prefix.encode()).hexdigest()


def label_of(key: str) -> str:
    """What the books call an API key: itself, or its ends when it is long enough to be real."""
    return key if len(key) <= 32 else f"{key[:8]}…{key[-4:]}"
