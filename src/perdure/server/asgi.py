"""The ASGI app: native routes under ``/api``, and the probes."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.routing import Route, WebSocketRoute

from perdure.config import ServerConfig
from perdure.errors import PerdureError
from perdure.server import console, openapi
from perdure.server.routes.actions import Actions
from perdure.server.routes.agents import Agents
from perdure.server.routes.dead_letters import DeadLetters
from perdure.server.routes.events import Events
from perdure.server.routes.halts import Halts
from perdure.server.routes.limits import Limits
from perdure.server.routes.money import Money
from perdure.server.routes.probes import Probes
from perdure.server.routes.problems import Problems
from perdure.server.routes.routing import Routing
from perdure.server.routes.runs import Runs
from perdure.server.routes.socket import Socket
from perdure.server.service import Service
from perdure.server.web.gate import Gate, Identify
from perdure.server.web.problems import on_crash, on_error, on_gone, on_http

UNGUARDED = frozenset(
    {"/healthz", "/readyz", "/problems", "/problems/", "/api/openapi.json", *console.PATHS}
)  # what says nothing about anyone's runs
ASKED = (
    "Accept", "Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Prefer",
    "Traceparent", "Tracestate", "X-API-Key",
)  # fmt: skip
TOLD = (
    "Idempotent-Replayed", "Link", "Location", "Preference-Applied", "RateLimit",
    "RateLimit-Policy", "Retry-After",
)  # fmt: skip


def make_app(service: Service, *, identify: Identify | None = None) -> Starlette:
    """The app over a service that someone else starts and stops. ``identify``: see
    :class:`~perdure.server.web.gate.Gate`."""
    routes = _routes(service)
    server = service.config.server
    app = Starlette(
        routes=routes,
        middleware=[
            *([_cors(server)] if server.cors_origins else []),
            Middleware(
                Gate,
                access=service.access,
                traffic=service.traffic,
                probes=UNGUARDED,
                routes={route.endpoint: route.path for route in routes},
                seconds=server.request_timeout.total_seconds(),
                identify=identify,
            ),
        ],
        exception_handlers={
            PerdureError: on_error,
            HTTPException: on_http,
            ClientDisconnect: on_gone,
            Exception: on_crash,
        },
    )
    # A slash too many is a mistake to be told of: a redirect would lose a POST's body.
    app.router.redirect_slashes = False
    app.state.service = service
    app.state.problems = server.problems
    return app


def _cors(server: ServerConfig) -> Middleware:
    """Before the gate: a preflight brings no key."""
    return Middleware(
        CORSMiddleware,
        allow_origins=server.cors_origins,
        allow_methods=("GET", "POST", "DELETE"),
        allow_headers=ASKED,
        expose_headers=TOLD,
        max_age=int(server.cors_max_age.total_seconds()),
    )


def _routes(service: Service) -> list[Route | WebSocketRoute]:
    events = Events(service)
    runs, actions = Runs(service, events), Actions(service)
    agents, probes = Agents(service), Probes(service)
    letters, problems = DeadLetters(service), Problems()
    money, halts = Money(service), Halts(service)
    return [
        Route("/api/agents/{agent}/runs", runs.create, methods=["POST"]),
        Route("/api/runs/{id}", runs.show),
        Route("/api/runs/{id}/events", events.show),
        Route("/api/runs", runs.find),
        Route("/api/runs/{id}/cancel", actions.cancel, methods=["POST"]),
        Route("/api/runs/{id}/signals/{name}", actions.signal, methods=["POST"]),
        Route("/api/runs/{id}/resolve", actions.resolve, methods=["POST"]),
        Route("/api/runs/{id}/redrive", letters.again, methods=["POST"]),
        WebSocketRoute("/api/runs/{id}/ws", Socket(service, events).follow),
        Route("/api/dead-letters", letters.find),
        Route("/api/dead-letters/{id}/redrive", letters.redrive, methods=["POST"]),
        Route("/api/dead-letters/{id}/dismiss", letters.dismiss, methods=["POST"]),
        Route("/api/agents", agents.find),
        Route("/api/agents/{agent}", agents.show),
        Route("/api/limits", Limits(service).find),
        Route("/api/routes", Routing(service).find),
        Route("/api/costs", money.costs),
        Route("/api/budgets", money.budgets),
        Route("/api/halts", halts.answer, methods=["GET", "POST", "DELETE"]),
        Route("/healthz", probes.health),
        Route("/readyz", probes.ready),
        Route("/metrics", probes.metrics),
        Route("/scale", probes.scale),
        Route("/problems", problems.find),
        Route("/problems/{code}", problems.show),
        Route("/api/openapi.json", openapi.show),
        *(console.routes() if service.config.server.console else ()),
    ]
