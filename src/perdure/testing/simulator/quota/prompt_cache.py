"""A provider's prompt cache: what of a request's beginning it has seen before.

Anthropic caches up to the marks (``cache_control``) that a request has, and bills what it writes;
OpenAI caches by itself, in steps of 128 tokens. Both need 1,024 tokens. Hits can be made to flip: a
share of them is missed, as when the entry was evicted or the call came to another machine.
"""

from __future__ import annotations

import hashlib
import random
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from perdure.errors import InvalidInput

__all__ = ["PromptCache"]

_LEAST = 1024  # tokens; docs.claude.com and platform.openai.com, "Prompt caching"
_STEP = 128
_KEPT = 100_000  # entries


class PromptCache:
    """``misses``: the share of hits that are missed, from 0 to 1, by ``seed``. ``ttl``: seconds
    an entry lives after it was last used. Raises InvalidInput. Not locked: its owner does that."""

    def __init__(self, *, misses: float = 0.0, seed: int = 0, ttl: float = 300.0) -> None:
        if not 0 <= misses <= 1 or ttl <= 0:
            raise InvalidInput("A prompt cache's misses are from 0 to 1, and its ttl is above 0.")
        self._misses = misses
        self._random = random.Random(seed)
        self._ttl = ttl
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def look(
        self, format: str, who: str, body: Mapping[str, Any], now: float
    ) -> tuple[int, int, list[bytes]]:
        """Tokens read from the cache, tokens written to it, and the entries that ``keep`` takes
        once the call is let in. ``who``: callers that differ in it share nothing."""
        ends = list(_ends(format, who, body))
        if not ends:
            return 0, 0, []
        read = max((n for name, n in ends if self._until.get(name, 0.0) > now), default=0)
        if read and self._random.random() < self._misses:
            read = 0
        written = ends[-1][1] - read if format == "anthropic" else 0
        return read, written, [name for name, _ in ends]

    def keep(self, entries: Iterable[bytes], now: float) -> None:
        """Writes, or refreshes, entries."""
        for name in entries:
            self._until[name] = now + self._ttl
            self._until.move_to_end(name)
        while len(self._until) > _KEPT:
            self._until.popitem(last=False)


def _ends(format: str, who: str, body: Mapping[str, Any]) -> Iterable[tuple[bytes, int]]:
    """Where the request's beginning can be cached: the entry's name and its tokens, ascending."""
    seen = hashlib.blake2b(f"{format}:{who}:{body.get('model')}".encode(), digest_size=16)
    if format == "anthropic":
        yield from _marked(seen, body)
    elif format in ("chat", "responses"):
        said = [body.get("tools"), body.get("instructions"), body.get("messages")]
        text = b"".join(orjson.dumps(part) for part in (*said, body.get("input")) if part)
        done = 0
        for tokens in range(_LEAST, len(text) // 4 + 1, _STEP):
            seen.update(text[done : tokens * 4])
            done = tokens * 4
            yield seen.digest(), tokens


def _marked(seen: Any, body: Mapping[str, Any]) -> Iterable[tuple[bytes, int]]:
    """Up to each marked block, in the order tools, system, messages."""
    blocks: list[Any] = [*(body.get("tools") or ()), *_blocks(body.get("system"))]
    for message in body.get("messages") or ():
        blocks += _blocks(message.get("content"))
    size = 0
    for at, block in enumerate(blocks):
        plain = {key: value for key, value in block.items() if key != "cache_control"}
        data = orjson.dumps(plain)
        seen.update(data)
        size += len(data)
        last = at + 1 == len(blocks) and body.get("cache_control")
        if (last or block.get("cache_control")) and size // 4 >= _LEAST:
            yield seen.digest(), size // 4


def _blocks(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content or () if isinstance(block, dict)]
