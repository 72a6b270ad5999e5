"""The kill switch: ``GET``, ``POST`` and ``DELETE /api/halts``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from perdure.errors import InvalidInput
from perdure.runtime.halting import Halted, halt, halts, lift
from perdure.server.service import Service
from perdure.server.web.answers import Json
from perdure.server.web.choice import single
from perdure.server.web.gate import CALLER
from perdure.server.web.limits import parse_json, read_body

MEMBERS = frozenset({"kind", "name", "reason"})


class Halts:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def answer(self, request: Request) -> Response:
        """By the method."""
        if request.method == "POST":
            return await self._make(request)
        if request.method == "DELETE":
            return await self._lift(request)
        single(request, set())
        # The longest first.
        return Json({"halts": [view(one) for one in await halts(self._service.store)]})

    async def _make(self, request: Request) -> Response:
        """``{"kind": "agent" | "tenant", "name": …, "reason": …}``."""
        limits = self._service.config.server
        body = await read_body(request.scope, request.receive, limits.max_body)
        value = parse_json(body, limits.max_depth)
        if not isinstance(value, dict) or value.keys() - MEMBERS:
            raise InvalidInput(
                f"The body is a JSON object with nothing but {', '.join(sorted(MEMBERS))}."
            )
        kind, name, reason = (_text(value, key) for key in ("kind", "name", "reason"))
        who = request.scope[CALLER].name
        return Json(view(await halt(self._service.store, kind, name, by=who, reason=reason)))

    async def _lift(self, request: Request) -> Response:
        """``?kind=…&name=…`` may go on; answers with what was lifted."""
        given = single(request, {"kind", "name"})
        kind, name = given.get("kind", ""), given.get("name", "")
        limit = self._service.config.server.max_body
        await read_body(request.scope, request.receive, limit)
        return Json(view(await lift(self._service.store, kind, name)))


def view(halted: Halted) -> dict[str, Any]:
    """As JSON."""
    return {
        "kind": halted.kind,
        "name": halted.name,
        "by": halted.halt.by,
        "at": datetime.fromtimestamp(halted.halt.at, UTC).isoformat(),
        "reason": halted.halt.reason,
    }


def _text(value: dict[str, Any], key: str) -> str:
    text = value.get(key, "")
    if not isinstance(text, str):
        raise InvalidInput(f"{key} is a text.", member=key)
    return text
