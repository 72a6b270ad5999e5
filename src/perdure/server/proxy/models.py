"""``GET /v1/models``: what a caller may ask for.

The names that routes are made for come first; then whatever the providers list whose credentials
are set. A provider that does not answer leaves its own out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any

import httpx2
import orjson

from perdure.core.routing import Route
from perdure.errors import ConfigError, NotFound
from perdure.server.grants import Grant
from perdure.server.proxy.upstreams import Upstream, Upstreams
from perdure.server.proxy.wire import Wire

log = logging.getLogger("perdure.proxy")

FRESH_S = 300.0
PATIENCE_S = 5.0
VERSION = "2023-06-01"  # of Anthropic's API; the only one there is
_WILD = frozenset("*?[")
_EPOCH = "1970-01-01T00:00:00Z"  # Anthropic's own word for a date that is not known

Ask = Callable[[Upstream], Awaitable[list[dict[str, Any]]]]


class Models:
    """Of one proxy."""

    def __init__(self, routes: Sequence[Route], upstreams: Upstreams, wire: Wire) -> None:
        self._wire = wire
        self._routed = [name for route in routes for name in route.model if not _WILD & set(name)]
        self._upstreams = upstreams
        self._known: list[dict[str, Any]] = []
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def openai(self, grant: Grant, name: str) -> dict[str, Any]:
        """In OpenAI's words; of one model where ``name`` is given. Raises NotFound."""
        found = [
            {
                "id": model["id"], "object": "model", "created": model.get("created", 0),
                "owned_by": model.get("owned_by", "perdure"),
            }
            for model in await self._allowed(grant, name)
        ]  # fmt: skip
        return found[0] if name else {"object": "list", "data": found}

    async def anthropic(self, grant: Grant, name: str) -> dict[str, Any]:
        """In Anthropic's words. Raises NotFound."""
        found = [
            {
                "type": "model", "id": model["id"],
                "display_name": model.get("display_name", model["id"]),
                "created_at": model.get("created_at", _EPOCH),
            }
            for model in await self._allowed(grant, name)
        ]  # fmt: skip
        if name:
            return found[0]
        ends = {
            "first_id": found[0]["id"] if found else None,
            "last_id": found[-1]["id"] if found else None,
        }
        return {"data": found, "has_more": False, **ends}

    async def _allowed(self, grant: Grant, name: str) -> list[dict[str, Any]]:
        found = [model for model in await self._all() if grant.allows(model["id"])]
        if name:
            found = [model for model in found if model["id"] == name]
            if not found:
                raise NotFound(f"There is no model {name!r}, or not for this key.")
        return found

    async def _all(self) -> list[dict[str, Any]]:
        async with self._reading:
            if monotonic() - self._read_at > FRESH_S:
                listed = await asyncio.gather(*map(self._ask, self._upstreams.all()))
                by_id: dict[str, dict[str, Any]] = {name: {"id": name} for name in self._routed}
                for models in listed:
                    for model in models:
                        by_id.setdefault(model["id"], model)
                self._known, self._read_at = list(by_id.values()), monotonic()
            return self._known

    async def _ask(self, upstream: Upstream) -> list[dict[str, Any]]:
        try:
            credential = self._upstreams.credential(upstream, None)
            if credential is None:
                return []
            headers = {credential[0]: credential[1], "anthropic-version": VERSION}
            if upstream.provider != "anthropic":
                del headers["anthropic-version"]
            query = b"limit=1000" if upstream.provider == "anthropic" else b""
            response = await self._wire.send(
                "GET", upstream.url("/v1/models"), query, headers, b"", PATIENCE_S
            )
            body = await response.aread()
            await response.aclose()
            data = orjson.loads(body)["data"] if response.status_code == 200 else []
            return [model for model in data if isinstance(model["id"], str)]
        except (httpx2.HTTPError, ConfigError, ValueError, LookupError, TypeError) as error:
            log.warning("The models of %s are not known: %s", upstream.provider, error)
            return []
