"""What is done to a run from outside: ``POST /api/runs/{id}/cancel``, ``/signals/{name}``,
``/resolve``."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from perdure.core.words import counted
from perdure.errors import Conflict, InvalidInput, TooLarge
from perdure.runtime.cancelling import cancel_run
from perdure.server.routes.path import run_id_of
from perdure.server.run_view import summary
from perdure.server.service import Service
from perdure.server.submission import idempotency_key
from perdure.server.web.answers import Json
from perdure.server.web.gate import CALLER
from perdure.server.web.limits import parse_json, read_body
from perdure.store.blobs import MAX_INLINE

MAX_NAME = 200  # characters of a signal's name
RESERVED = "run:"  # by these signals runs hear of their children's ends


class Actions:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def cancel(self, request: Request) -> Response:
        """C4. 200 when the run is final now, 202 when it was asked to stop."""
        run_id = run_id_of(request)
        body = await self._object(request, {"reason"})
        reason = body.get("reason", "")
        if not isinstance(reason, str) or "\0" in reason:
            raise InvalidInput("reason is a text without NUL.", member="reason")
        run = await cancel_run(self._service.store, run_id, reason)
        return Json(summary(run), 200 if run.state.final else 202)

    async def signal(self, request: Request) -> Response:
        """The body is the payload: any JSON, or nothing for null."""
        run_id = run_id_of(request)
        name: str = request.path_params["name"]
        if len(name) > MAX_NAME or "\0" in name:
            raise InvalidInput(f"A signal's name has at most {MAX_NAME} characters.")
        if name.startswith(RESERVED):
            raise InvalidInput(f"Signals named {RESERVED}… are Perdure's own.")
        value = await self._json(request)
        payload = orjson.dumps(value)
        if len(payload) > MAX_INLINE:
            raise TooLarge(f"A signal's payload has at most {MAX_INLINE} bytes.", limit=MAX_INLINE)
        n = await self._service.store.signal(
            run_id, name, payload, dedupe=idempotency_key(request.headers.get("idempotency-key"))
        )
        return Json({"run": run_id, "name": name, "n": n}, 202)

    async def resolve(self, request: Request) -> Response:
        """Answer an effect of which nobody knows whether it happened: ``{"key": hex, "answer":
        "done" | "redo", "value": …}``. Without a key: the one that the run waits for."""
        run_id = run_id_of(request)
        body = await self._object(request, {"key", "answer", "value"})
        answer = body.get("answer")
        if answer not in ("done", "redo"):
            raise InvalidInput(
                'answer is "done" (it happened, and value is what it returned) or "redo".',
                member="answer",
            )
        if answer == "redo" and "value" in body:
            raise InvalidInput('value goes with "done" only.', member="value")
        key = await self._key(run_id, body.get("key"))
        value = orjson.dumps(body.get("value")) if answer == "done" else None
        if value is not None and len(value) > MAX_INLINE:
            raise TooLarge(f"value has at most {MAX_INLINE} bytes.", limit=MAX_INLINE)
        who = request.scope[CALLER].name
        run = await self._service.store.resolve(run_id, key, value=value, who=who)
        return Json(summary(run))

    async def _key(self, run_id: str, given: Any) -> bytes:
        if given is not None:
            try:
                return bytes.fromhex(given)
            except (ValueError, TypeError):
                raise InvalidInput("key is an effect's key in hex.", member="key") from None
        run = await self._service.store.get(run_id, payloads=False)
        keys = [wait["key"] for wait in run.waits if wait.get("key")]
        if len(keys) != 1:
            raise Conflict(
                f"The run waits for {counted(len(keys), 'effect')} to be resolved.",
                hint="Say which: key." if keys else "There is nothing to resolve.",
                keys=keys,
            )
        return bytes.fromhex(keys[0])

    async def _json(self, request: Request) -> Any:
        limits = self._service.config.server
        body = await read_body(request.scope, request.receive, limits.max_body)
        return parse_json(body, limits.max_depth) if body.strip() else None

    async def _object(self, request: Request, members: set[str]) -> dict[str, Any]:
        value = await self._json(request)
        value = {} if value is None else value
        if not isinstance(value, dict) or value.keys() - members:
            raise InvalidInput(
                f"The body is a JSON object with nothing but {', '.join(sorted(members))}."
            )
        return value
