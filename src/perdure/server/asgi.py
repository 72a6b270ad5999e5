"""The ASGI app: native routes under ``/api``, and the probes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from perdure.config import Config
from perdure.errors import PerdureError
from perdure.runtime.agent import Agent
from perdure.runtime.worker import Worker
from perdure.server.routes.actions import Actions
from perdure.server.routes.agents import Agents
from perdure.server.routes.events import Events
from perdure.server.routes.probes import Probes
from perdure.server.routes.runs import Runs
from perdure.server.service import Service
from perdure.server.web.gate import Gate
from perdure.server.web.problems import on_crash, on_error, on_gone, on_http
from perdure.store.base import Store

UNGUARDED = frozenset({"/healthz", "/readyz"})


def make_server(
    agents: Mapping[str, Agent], config: Config, store: Store, worker: Worker | None = None
) -> Starlette:
    """The server as an ASGI app whose lifespan opens the store, starts the worker, drains and
    closes them. ``worker`` uses the same store; without one, runs are left to other processes."""
    return make_app(Service(agents, config, store, worker), lifespan=True)


def make_app(service: Service, *, lifespan: bool = False) -> Starlette:
    """The app over a service that someone else starts and stops, unless ``lifespan``."""
    routes = _routes(service)

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(
                Gate,
                access=service.access,
                traffic=service.traffic,
                probes=UNGUARDED,
                routes={route.endpoint: route.path for route in routes},
            )
        ],
        exception_handlers={
            PerdureError: on_error,
            HTTPException: on_http,
            ClientDisconnect: on_gone,
            Exception: on_crash,
        },
        lifespan=life if lifespan else None,
    )
    # A slash too many is a mistake to be told of: a redirect would lose a POST's body.
    app.router.redirect_slashes = False
    app.state.service = service
    return app


def _routes(service: Service) -> list[Route]:
    events = Events(service)
    runs, actions = Runs(service, events), Actions(service)
    agents, probes = Agents(service), Probes(service)
    return [
        Route("/api/agents/{agent}/runs", runs.create, methods=["POST"]),
        Route("/api/runs/{id}", runs.show),
        Route("/api/runs/{id}/events", events.show),
        Route("/api/runs", runs.find),
        Route("/api/runs/{id}/cancel", actions.cancel, methods=["POST"]),
        Route("/api/runs/{id}/signals/{name}", actions.signal, methods=["POST"]),
        Route("/api/runs/{id}/resolve", actions.resolve, methods=["POST"]),
        Route("/api/agents", agents.find),
        Route("/api/agents/{agent}", agents.show),
        Route("/healthz", probes.health),
        Route("/readyz", probes.ready),
        Route("/metrics", probes.metrics),
    ]
