"""``/_sim``: what the Python methods of a simulator do, for other processes."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from perdure.errors import InvalidInput
from perdure.testing.simulator.faults import FaultPlan, Match
from perdure.testing.simulator.simulation import Simulation

__all__ = ["controls", "json_response"]

_WAIT_S = 30.0
_PAGE = 10_000

N = TypeVar("N", int, float)


def json_response(data: Any, status: int = 200) -> Response:
    """Any JSON value."""
    return Response(orjson.dumps(data), status, media_type="application/json")


def controls(simulation: Simulation) -> list[Route]:
    """The routes."""

    async def calls(request: Request) -> Response:
        after, limit = _number(request, "after", 0), _number(request, "limit", _PAGE)
        rows = simulation.calls(after=after, limit=limit)
        return json_response([row.to_dict() for row in rows])

    async def counts(request: Request) -> Response:
        out = simulation.counts().to_dict()
        if _number(request, "digests", 1):
            out["by_digest"] = {
                digest: {"started": count.started, "answered": count.answered}
                for digest, count in simulation.digests().items()
            }
        return json_response(out)

    async def reset(request: Request) -> Response:
        simulation.reset()
        return json_response({})

    async def faults(request: Request) -> Response:
        if request.method == "POST":
            simulation.set_faults(FaultPlan.from_list(await _body(request)))
        return json_response(simulation.faults())

    async def hold(request: Request) -> Response:
        wish = await _object(request, {"match", "after_chunks"})
        match = Match.from_dict(wish.get("match") or {})
        simulation.hold(match, after_chunks=_whole(wish, "after_chunks") or 0)
        return json_response({})

    async def release(request: Request) -> Response:
        wish = await _object(request, {"count"})
        return json_response({"released": simulation.release(_whole(wish, "count"))})

    async def wait(request: Request) -> Response:
        names = ("started", "finished", "answered", "held")
        wanted = {name: _number(request, name, 0) for name in names}
        wanted["started"] = max(wanted["started"], _number(request, "calls", 0))
        timeout = _number(request, "timeout", _WAIT_S)
        future = simulation.expect(**wanted)
        try:
            async with asyncio.timeout(timeout):
                reached = await asyncio.wrap_future(future)
        except TimeoutError:
            return json_response(simulation.counts().to_dict(), 408)
        return json_response(reached.to_dict())

    return [
        Route("/_sim/calls", calls, methods=["GET"]),
        Route("/_sim/counts", counts, methods=["GET"]),
        Route("/_sim/reset", reset, methods=["POST"]),
        Route("/_sim/faults", faults, methods=["GET", "POST"]),
        Route("/_sim/hold", hold, methods=["POST"]),
        Route("/_sim/release", release, methods=["POST"]),
        Route("/_sim/wait", wait, methods=["GET"]),
    ]


def _number(request: Request, name: str, default: N) -> N:
    raw = request.query_params.get(name)
    if raw is None:
        return default
    try:
        return type(default)(raw)
    except ValueError as error:
        raise InvalidInput(f"The parameter {name!r} is no number: {raw!r}.") from error


async def _body(request: Request) -> Any:
    raw = await request.body()
    try:
        return orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"The body is not JSON: {error}") from error


async def _object(request: Request, known: set[str]) -> dict[str, Any]:
    body = await _body(request)
    if not isinstance(body, dict) or not set(body) <= known:
        raise InvalidInput(f"The body must be a JSON object with only: {', '.join(sorted(known))}.")
    return body


def _whole(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or value < 0:
        raise InvalidInput(f"{name!r} must be a whole number of at least 0, not {value!r}.")
    return value
