"""An App inside other apps: mounted, as a router, alone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
import websockets
from fastapi import Depends, FastAPI, HTTPException
from fastapi.requests import HTTPConnection, Request
from starlette.types import ASGIApp

from perdure.app import App
from perdure.client import AsyncClient
from perdure.config import Config, load
from perdure.errors import ConfigError
from perdure.server.auth import Caller
from perdure.server.fastapi import router
from perdure.store import make_store


def _app() -> App:
    app = App()

    @app.agent
    async def greet(name: str) -> str:
        return f"hello {name}"

    return app


def _config(folder: Path, **flags: Any) -> Config:
    return load(environ={}, flags={"store.url": f"sqlite:///{folder}/x.db", **flags})


class _Uvicorn(uvicorn.Server):
    """It says when it listens, and leaves signals to pytest."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def _listening(app: ASGIApp, **more: Any) -> AsyncIterator[str]:
    """The app on a real server, which knows nothing of Perdure; its URL."""
    config = uvicorn.Config(
        app, port=0, log_config=None, ws="websockets-sansio", lifespan="on", **more
    )
    server = _Uvicorn(config)
    task = asyncio.create_task(server.serve())
    ready = asyncio.create_task(server.ready.wait())
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


async def _holds_the_run(folder: Path, run_id: str) -> str:
    store = make_store(f"sqlite:///{folder}/x.db")
    await store.open()
    try:
        return str((await store.get(run_id)).state)
    finally:
        await store.close()


def _mounted(folder: Path) -> FastAPI:
    agents = _app().asgi(config=_config(folder))
    api = FastAPI(lifespan=agents.lifespan)
    api.mount("/sub", agents)
    return api


def _routed(folder: Path) -> FastAPI:
    api = FastAPI()
    api.include_router(router(_app().asgi(config=_config(folder))), prefix="/sub")
    return api


@pytest.mark.parametrize("make", [_mounted, _routed])
async def test_below_another_app(make: Callable[[Path], FastAPI], tmp_path: Path) -> None:
    async with _listening(make(tmp_path)) as url, httpx2.AsyncClient(base_url=url) as http:
        answer = await http.post("/sub/api/agents/greet/runs?wait=20", json={"input": "Ada"})
        assert (answer.status_code, answer.json()["result"]) == (200, "hello Ada")
        where = answer.headers["location"]
        assert where == f"/sub/api/runs/{answer.json()['id']}"
        assert (await http.get(where)).json()["input"] == "Ada"

        await http.post("/sub/api/agents/greet/runs", json={"input": "Bob"})
        page = await http.get("/sub/api/runs?limit=1")
        link = page.headers["link"].partition(">")[0].removeprefix("<")
        assert link.startswith("/sub/api/runs?")
        assert len((await http.get(link)).json()["runs"]) == 1

        problem = (await http.get("/sub/api/runs/x")).json()
        assert problem["instance"] == "/sub/api/runs/x"
        assert (await http.get(problem["type"])).status_code == 200
        assert (await http.get("/sub/api/openapi.json")).json()["servers"] == [{"url": "/sub"}]
        assert (await http.get("/sub/healthz")).text == "ok\n"

        async with AsyncClient(f"{url}/sub") as client:
            assert await client.run("greet", "Cy") == "hello Cy"
            events = [event async for event in client.stream("greet", "Di")]
            assert events[-1].data["state"] == "succeeded"
        run = answer.json()["id"]
        async with websockets.connect(f"ws{url[4:]}/sub/api/runs/{run}/ws") as stream:
            assert "succeeded" in str(await stream.recv())
    assert await _holds_the_run(tmp_path, run) == "succeeded"


async def test_behind_a_proxy_that_cuts_its_prefix_off(tmp_path: Path) -> None:
    for make in (_mounted, _routed):
        api = make(tmp_path)
        api.root_path = "/proxy"
        async with _listening(api) as url, httpx2.AsyncClient(base_url=url) as http:
            answer = await http.post("/sub/api/agents/greet/runs", json={"input": "Ada"})
            assert answer.status_code == 202
            assert answer.headers["location"].startswith("/proxy/sub/api/runs/")


async def test_dependencies_guard_what_is_a_router(tmp_path: Path) -> None:
    seen: list[str] = []

    def login(connection: HTTPConnection) -> None:
        if "x-user" not in connection.headers:
            raise HTTPException(401, "Who are you?")
        connection.state.user = connection.headers["x-user"]

    def who(connection: HTTPConnection) -> Caller:
        seen.append(connection.state.user)
        return Caller(name=connection.state.user)

    api = FastAPI()
    served = _app().asgi(config=_config(tmp_path), identify=who)
    api.include_router(router(served), prefix="/sub", dependencies=[Depends(login)])
    async with _listening(api) as url, httpx2.AsyncClient(base_url=url) as http:
        assert (await http.get("/sub/api/agents")).status_code == 401
        headers = {"x-user": "ada", "host": "agents.example.com"}
        assert (await http.get("/sub/api/agents", headers=headers)).status_code == 200
        assert seen == ["ada"]
        run = (await http.post(
            "/sub/api/agents/greet/runs?wait=20", json={"input": "Ada"}, headers=headers
        )).json()["id"]  # fmt: skip
        socket_url = f"ws{url[4:]}/sub/api/runs/{run}/ws"
        async with websockets.connect(socket_url, additional_headers={"x-user": "bob"}) as stream:
            async for _ in stream:
                pass
        assert seen[-1] == "bob"
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(socket_url)


async def test_the_host_apps_own_code_needs_no_key(tmp_path: Path) -> None:
    def nobody(connection: HTTPConnection) -> Caller:
        raise AssertionError("it is the process itself")

    served = _app().asgi(config=_config(tmp_path), identify=nobody)
    async with served.running(), served.client("orders") as client:
        assert await client.run("greet", "Ada") == "hello Ada"


async def test_a_public_name_needs_keys_or_a_host_that_knows(tmp_path: Path) -> None:
    """Whatever perdure.toml says of the address: it is not Perdure that listens."""
    config = _config(tmp_path, **{"server.host": "0.0.0.0"})
    served = _app().asgi(config=config)
    transport = httpx2.ASGITransport(served)
    async with (
        served.running(),
        httpx2.AsyncClient(transport=transport, base_url="http://agents.example.com") as http,
    ):
        assert (await http.get("/api/agents")).status_code == 403


async def test_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``uvicorn file:app``, with settings from the environment."""
    monkeypatch.setenv("PERDURE_STORE", f"sqlite:///{tmp_path}/x.db")
    async with _listening(_app()) as url, AsyncClient(url) as client:
        assert await client.run("greet", "Ada") == "hello Ada"


async def test_an_app_that_was_not_started_says_so(tmp_path: Path) -> None:
    api = FastAPI()
    api.mount("/sub", _app().asgi(config=_config(tmp_path)))
    async with _listening(api) as url, httpx2.AsyncClient(base_url=url) as http:
        answer = await http.get("/sub/api/agents")
    assert answer.status_code == 500
    assert answer.json()["code"] == "config"
    assert "lifespan" in answer.json()["hint"]


async def test_it_is_started_once_at_a_time(tmp_path: Path) -> None:
    served = _app().asgi(config=_config(tmp_path))
    async with served.running():
        with pytest.raises(ConfigError, match="runs already"):
            async with served.running():
                pass
    async with served.running(), served.client() as client:
        assert await client.run("greet", "again") == "hello again"


async def test_a_dependency_may_read_the_request(tmp_path: Path) -> None:
    def header(request: Request) -> None:
        assert request.url.path.startswith("/sub")

    api = FastAPI()
    served = _app().asgi(config=_config(tmp_path))
    api.include_router(router(served, dependencies=[Depends(header)]), prefix="/sub")
    async with _listening(api) as url, AsyncClient(f"{url}/sub") as client:
        assert await client.run("greet", "Ada") == "hello Ada"
