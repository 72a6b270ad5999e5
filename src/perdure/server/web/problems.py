"""Errors as HTTP: RFC 9457 problem documents, made from the error tree and nothing else.

``type`` leads to a page about the error: the setting ``server.problems`` with the code after it, or
this server's own ``/problems/<code>``. What an error says in ``detail`` goes
beside the standard members and never replaces one. An unexpected exception says nothing about
itself to the caller; its traceback is in the log.
"""

from __future__ import annotations

import math
import re
from http import HTTPStatus
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from perdure.errors import Backpressure, NoHeadroom, PerdureError, Unauthorized, Unavailable
from perdure.server.web.quota import quota

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 2  # what Retry-After says where nobody knows better

_RESERVED = frozenset(
    {"type", "title", "status", "detail", "instance", "code", "hint", "retryable"}
)
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")


def titled(cls: type[PerdureError]) -> str:
    """The title of an error's problem documents."""
    return _WORD.sub(" ", cls.__name__).capitalize()


def code_of(status: HTTPStatus) -> str:
    """The code of a problem of HTTP itself."""
    return status.phrase.lower().replace(" ", "_").replace("-", "_")


def type_of(code: str, scope: Scope) -> str:
    """Where the page about this error is."""
    own = f"{scope.get('root_path', '')}/problems/"
    state = getattr(scope.get("app"), "state", None)
    return f"{getattr(state, 'problems', '') or own}{code}"


def document(error: PerdureError, scope: Scope) -> dict[str, Any]:
    """The problem document of ``error``, which a request of this scope met."""
    out: dict[str, Any] = {
        "type": type_of(error.code, scope),
        "title": titled(type(error)),
        "status": error.status,
        "detail": error.message,
        "instance": scope["path"],
        "code": error.code,
    }
    if error.hint:
        out["hint"] = error.hint
    if error.retryable:
        out["retryable"] = True
    out.update({k: v for k, v in error.detail.items() if k not in _RESERVED})
    return out


def problem(error: PerdureError, scope: Scope) -> Response:
    """The answer to a request that ended in ``error``."""
    headers: dict[str, str] = {}
    if isinstance(error, Backpressure):
        headers["Retry-After"] = str(max(math.ceil(error.retry_after), 1))
        if "limit" in error.detail:
            headers.update(quota(error.detail["limit"], 0, error.retry_after))
    elif isinstance(error, Unavailable) and error.retryable:
        headers["Retry-After"] = str(RETRY_SECONDS)
    elif isinstance(error, NoHeadroom) and error.retry_after is not None:
        headers["Retry-After"] = str(max(math.ceil(error.retry_after), 1))
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="perdure"'
    return _answer(document(error, scope), headers)


def plain_problem(status: int, detail: str, scope: Scope, headers: dict[str, str]) -> Response:
    """A problem of HTTP itself, which the error tree knows nothing of."""
    phrase, code = HTTPStatus(status).phrase, code_of(HTTPStatus(status))
    return _answer(
        {
            "type": type_of(code, scope),
            "title": phrase,
            "status": status,
            "detail": detail,
            "instance": scope["path"],
            "code": code,
        },
        headers,
    )


def _answer(body: dict[str, Any], headers: dict[str, str]) -> Response:
    data = orjson.dumps(body, default=str, option=orjson.OPT_NON_STR_KEYS)
    return Response(data, body["status"], headers, MEDIA_TYPE)


async def on_error(request: Request, error: Exception) -> Response:
    """Handler of PerdureError."""
    assert isinstance(error, PerdureError)
    return problem(error, request.scope)


async def on_http(request: Request, error: Exception) -> Response:
    """Handler of what routing itself refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    path = request.scope["path"]
    if error.status_code == 405:
        allowed = sorted({*headers.get("Allow", "").split(", "), "OPTIONS"} - {""})
        headers["Allow"] = ", ".join(allowed)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        return plain_problem(405, f"{request.method} is not for {path}.", request.scope, headers)
    if error.status_code == 404:
        return plain_problem(404, f"There is nothing at {path}.", request.scope, headers)
    return plain_problem(error.status_code, error.detail, request.scope, headers)


async def on_crash(request: Request, error: Exception) -> Response:
    """Handler of everything nobody expected; the server logs the traceback."""
    return problem(PerdureError("The server made a mistake; its log says more."), request.scope)


async def on_gone(request: Request, error: Exception) -> Response:
    """The client went away while it was still sending: nobody reads this."""
    return Response(status_code=400)
