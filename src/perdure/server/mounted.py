"""An App as an ASGI app that has its own life: served alone (``uvicorn file:app``) or mounted in
another app, whose lifespan then has to open it.

Mounted, the settings ``server.host`` and ``server.port`` say nothing. Without API keys, and without
``identify``, only requests that name this machine are answered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

from perdure import assembly
from perdure.client.asynchronous import AsyncClient
from perdure.config import Config, load
from perdure.errors import ConfigError
from perdure.server.asgi import make_app
from perdure.server.auth import Caller
from perdure.server.service import Service
from perdure.server.web.gate import INSIDE, Identify
from perdure.server.web.problems import problem
from perdure.store import make_store

if TYPE_CHECKING:
    from perdure.app import App

NOT_RUNNING = "The Perdure app that is mounted here was not started."
HINT = "Hand its lifespan over: FastAPI(lifespan=agents.lifespan), or enter agents.running()."


class Mounted:
    """``worker``: runs are executed in this process. ``identify`` takes a request's connection and
    returns who calls (:class:`~perdure.server.auth.Caller`); no API key is asked for then."""

    def __init__(
        self,
        app: App,
        *,
        config: Config | None = None,
        worker: bool = True,
        identify: Identify | None = None,
    ) -> None:
        self._agents = app
        self._config = config
        self._worker = worker
        self._identify = identify
        self._running: Starlette | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the store and start the worker; at the end drain and close them. Raises
        ConfigError, StoreUnavailable, SchemaOutdated, SchemaNewer."""
        if self._running is not None:
            raise ConfigError("This app runs already.", hint="Its lifespan is entered once.")
        config = self._config or load()
        if not config.server.insecure:
            # Whoever serves it decides where it listens, so nothing may hang on it.
            config = replace(config, server=replace(config.server, host="127.0.0.1"))
        await assembly.upgrade_embedded(config)
        agents = self._agents.configured(config)
        store = make_store(config.store.url)
        worker = assembly.make_worker(config, store, agents) if self._worker else None
        service = Service(agents, config, store, worker)
        async with AsyncExitStack() as stack:
            if worker is not None:
                await stack.enter_async_context(assembly.capturing(config, worker.runtime))
            await stack.enter_async_context(service.running())
            self._running = make_app(service, identify=self._identify)
            try:
                yield
            finally:
                self._running = None

    def lifespan(self, app: Any = None) -> AbstractAsyncContextManager[None]:
        """The same, in the form in which Starlette and FastAPI take it."""
        return self.running()

    def client(self, name: str = "") -> AsyncClient:
        """A client of it that goes no way over the network and needs no key, for the host app's own
        code. ``name`` is who calls. Answers come whole: to watch a run as it goes, use a URL."""

        async def inside(scope: Scope, receive: Receive, send: Send) -> None:
            await self({**scope, INSIDE: Caller(name=name)}, receive, send)

        return AsyncClient("http://127.0.0.1", transport=httpx2.ASGITransport(inside))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._alone(receive, send)
            return
        scope = _rooted(scope)
        if self._running is not None:
            await self._running(scope, receive, send)
        elif scope["type"] == "http":
            await problem(ConfigError(NOT_RUNNING, hint=HINT), scope)(scope, receive, send)
        else:
            await WebSocketClose(1013, NOT_RUNNING)(scope, receive, send)

    async def _alone(self, receive: Receive, send: Send) -> None:
        """The ASGI lifespan protocol, where nothing is around it."""
        started = False
        await receive()
        try:
            async with self.running():
                started = True
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except BaseException as error:
            word = "shutdown" if started else "startup"
            await send({"type": f"lifespan.{word}.failed", "message": f"{error}"})
            raise
        await send({"type": "lifespan.shutdown.complete"})


def _rooted(scope: Scope) -> Scope:
    """With a path that begins with the root path, as ASGI wants it: an app behind a proxy that cuts
    its prefix off has one that does not."""
    root, path = scope.get("root_path", ""), scope["path"]
    if not path.startswith(root):
        return {**scope, "path": scope.get("app_root_path", "") + path}
    return scope
