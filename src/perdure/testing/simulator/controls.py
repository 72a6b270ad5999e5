"""``/_sim``: what the Python methods of a simulator do, for other processes."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from perdure.errors import InvalidInput
from perdure.testing.simulator.doors import Doors
from perdure.testing.simulator.faults import FaultPlan, Match
from perdure.testing.simulator.quota.limit import quotas_from
from perdure.testing.simulator.simulation import Simulation

__all__ = ["controls", "json_response"]

_WAIT_S = 30.0
_PAGE = 10_000

N = TypeVar("N", int, float)


def json_response(data: Any, status: int = 200) -> Response:
    """Any JSON value."""
    return Response(orjson.dumps(data), status, media_type="application/json")


def controls(simulation: Simulation, doors: Doors | None = None) -> list[Route]:
    """The routes; those of the targets' addresses where there are ``doors``."""

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
            plan = FaultPlan.from_list(await _body(request))
            simulation.set_faults(plan, target=request.query_params.get("target"))
        return json_response(simulation.faults())

    async def limits(request: Request) -> Response:
        if request.method == "POST":
            simulation.set_limits(quotas_from(await _body(request)))
        return json_response([quota.to_dict() for quota in simulation.limits()])

    async def accounting(request: Request) -> Response:
        given = {name: _number(request, name, 0.0) for name in ("since", "until")
                 if name in request.query_params}  # fmt: skip
        return json_response(simulation.accounting(**given).to_dict())

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
        *(_targets(doors) if doors is not None else ()),
        Route("/_sim/limits", limits, methods=["GET", "POST"]),
        Route("/_sim/accounting", accounting, methods=["GET"]),
        Route("/_sim/calls", calls, methods=["GET"]),
        Route("/_sim/counts", counts, methods=["GET"]),
        Route("/_sim/reset", reset, methods=["POST"]),
        Route("/_sim/faults", faults, methods=["GET", "POST"]),
        Route("/_sim/hold", hold, methods=["POST"]),
        Route("/_sim/release", release, methods=["POST"]),
        Route("/_sim/wait", wait, methods=["GET"]),
    ]


def _targets(doors: Doors) -> list[Route]:
    async def targets(request: Request) -> Response:
        return json_response(doors.listed())

    async def down(request: Request) -> Response:
        wish = await _object(request, {"target", "seconds"})
        seconds = wish.get("seconds")
        if seconds is not None and (not isinstance(seconds, int | float) or seconds < 0):
            raise InvalidInput(f"'seconds' must be a number of at least 0, not {seconds!r}.")
        # The connection that asks lives until it has its answer.
        asking = request.scope["state"]["transport"]
        await doors.shut(str(wish.get("target", "")), seconds=seconds, spare=asking)
        return json_response(doors.listed())

    async def up(request: Request) -> Response:
        wish = await _object(request, {"target"})
        await doors.open(str(wish.get("target", "")))
        return json_response(doors.listed())

    return [
        Route("/_sim/targets", targets, methods=["GET"]),
        Route("/_sim/down", down, methods=["POST"]),
        Route("/_sim/up", up, methods=["POST"]),
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
