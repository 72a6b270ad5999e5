"""The ASGI app: the provider's routes, and ``/_sim`` to look and steer from another process.

A call is marked answered right before its last bytes are written, in one step of the event loop,
so that a client that has its answer always finds it in the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from perdure.errors import PerdureError
from perdure.testing.simulator.answer import Delivery
from perdure.testing.simulator.controls import controls, json_response
from perdure.testing.simulator.doors import Doors
from perdure.testing.simulator.simulation import Exchange, Simulation
from perdure.testing.simulator.steps import Cut, Held, Part, Sleep, Start, Step, steps
from perdure.testing.simulator.tokens import ident
from perdure.testing.simulator.wire import WIRES, Wire, WireError

__all__ = ["DEFAULT_MODELS", "build"]

_BASES = ("", "/{target}")
DEFAULT_MODELS = ("claude-simulated", "gpt-simulated")

T = TypeVar("T")


class _Gone(Exception):
    """The client went away. Control flow within this file."""


class _Link:
    """One request's connection: sends, waits while watching the client, and breaks."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The server puts its transport here (see server.py); without it nothing can be broken.
        self._transport: asyncio.Transport = scope["state"]["transport"]
        self._receive = receive
        self._send = send
        self._watch: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        return self._transport.is_closing()

    async def body(self) -> bytes:
        whole: bytes = b""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            whole += message.get("body", b"")
            if not message.get("more_body"):
                return whole

    async def until(self, awaitable: Awaitable[T]) -> T:
        """The awaitable's result; raises _Gone, and cancels it, when the client leaves first."""
        task = asyncio.ensure_future(awaitable)
        try:
            await asyncio.wait({task, self._watched()}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
        if not task.done() or task.cancelled():  # cancelled: the simulator itself is ending
            raise _Gone
        return task.result()

    async def rest(self, seconds: float | None) -> None:
        """Waits, None: for ever; raises _Gone when the client leaves first."""
        if (await asyncio.wait({self._watched()}, timeout=seconds))[0]:
            raise _Gone

    def _watched(self) -> asyncio.Task[None]:
        if self._watch is None:
            self._watch = asyncio.ensure_future(self._wait_closed())
        return self._watch

    async def _wait_closed(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def start(self, delivery: Delivery) -> None:
        headers = [(k.lower().encode(), v.encode()) for k, v in delivery.headers.items()]
        if delivery.length is not None:
            headers.append((b"content-length", str(delivery.length).encode()))
        await self._send(
            {"type": "http.response.start", "status": delivery.status, "headers": headers}
        )

    async def write(self, part: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": part, "more_body": more})

    async def drain(self) -> None:
        """Waits until the socket takes more: with an empty write, since ASGI has no other way."""
        if self._transport.get_write_buffer_size():
            await self.write(b"", more=True)

    async def cut(self, *, reset: bool) -> None:
        """Ends the connection: with a reset, what is still unsent is lost; without, what was sent
        arrives and then the stream just stops."""
        if reset:
            sock = self._transport.get_extra_info("socket")
            # Linger 0: closing sends RST instead of FIN.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()
        # The server complains about an app that returns too early while the connection is up.
        await (self._watch or self._wait_closed())

    def finish(self) -> None:
        if self._watch is not None:
            self._watch.cancel()


class _Endpoint:
    """ASGI app of one provider route."""

    def __init__(self, simulation: Simulation, wire: Wire, doors: Doors | None) -> None:
        self._simulation = simulation
        self._wire = wire
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        link = _Link(scope, receive, send)
        try:
            raw = await link.body()
        except _Gone:
            return
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        path, target = scope["path"], scope["path_params"].get("target", "")
        if target:
            path = path[len(target) + 1 :]
        elif self._doors is not None and scope["server"]:
            target = self._doors.name_of(scope["server"][1])
        exchange = self._simulation.open(self._wire, path, headers, raw, target)
        try:
            delivery = self._simulation.respond(exchange)
            if inspect.isawaitable(delivery):
                delivery = await link.until(delivery)
            with contextlib.closing(steps(self._simulation, exchange, delivery)) as todo:
                for step in todo:
                    await self._carry_out(step, link, exchange, delivery)
        except _Gone:
            pass
        finally:
            # Only a call whose client went away, or whose server stops, is still open here.
            self._simulation.close(exchange, "aborted")
            link.finish()

    async def _carry_out(
        self, step: Step, link: _Link, exchange: Exchange, delivery: Delivery
    ) -> None:
        match step:
            case Start():
                await link.start(delivery)
            case Part(data, last):
                await link.drain()
                if link.closed:
                    raise _Gone
                if last:
                    self._simulation.close(exchange, delivery.outcome)
                await link.write(data, more=not last)
            case Sleep(seconds):
                await link.rest(seconds)
            case Held(future):
                await link.until(asyncio.wrap_future(future))
            case Cut(reset):
                self._simulation.close(exchange, delivery.outcome)
                await link.cut(reset=reset)


def build(
    simulation: Simulation,
    models: tuple[str, ...] = DEFAULT_MODELS,
    doors: Doors | None = None,
) -> Starlette:
    """The ASGI app. It needs a server that puts its transport into ``scope["state"]``.

    Everything a provider serves is also there below ``/NAME``, for targets of any name.
    """
    provider = [
        Route(base + path, _Endpoint(simulation, wire, doors), methods=["POST"])
        for base in _BASES
        for path, wire in WIRES.items()
    ]
    listing = [
        Route(base + path, _models(models), methods=["GET"])
        for base in _BASES
        for path in ("/v1/models", "/v1/models/{model}")
    ]
    handlers: dict[Any, Any] = {PerdureError: _problem, ClientDisconnect: _nobody}
    return Starlette(
        routes=[*controls(simulation, doors), *provider, *listing],
        exception_handlers=handlers,
    )


async def _problem(request: Request, error: PerdureError) -> Response:
    return json_response(error.to_dict(), error.status)


async def _nobody(request: Request, error: Exception) -> Response:
    return Response(status_code=499)


def _models(models: tuple[str, ...]) -> Callable[[Request], Awaitable[Response]]:
    def anthropic(name: str) -> dict[str, Any]:
        return {
            "type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z",
            "lifecycle": "active",
        }  # fmt: skip

    def openai(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": 1767225600, "owned_by": "simulator"}

    async def listing(request: Request) -> Response:
        # Both providers serve this path; only Anthropic's clients send their version.
        is_anthropic = "anthropic-version" in request.headers
        one = anthropic if is_anthropic else openai
        name = request.path_params.get("model")
        if name is not None and name not in models:
            wire = WIRES["/v1/messages" if is_anthropic else "/v1/chat/completions"]
            error = WireError(404, f"The model '{name}' does not exist.")
            return json_response(wire.error(error, ident("req_", name, 1)), 404)
        if name is not None:
            return json_response(one(name))
        data = [one(model) for model in models]
        if is_anthropic:
            ends = {"first_id": models[0], "last_id": models[-1]} if models else {}
            return json_response({"data": data, "has_more": False, **ends})
        return json_response({"object": "list", "data": data})

    return listing
