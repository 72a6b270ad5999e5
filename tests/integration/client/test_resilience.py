"""The clients through connections that break and servers that die."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from perdure.app import App
from perdure.client import Emitted, Retries
from perdure.errors import Unreachable
from tests.integration.client.faces import FACES
from tests.integration.server.serving import serving
from tests.servers import free_port

ROOT = Path(__file__).parents[3]
SOON = Retries(attempts=40, base=0.05, cap=0.5)


@asynccontextmanager
async def _process(folder: Path, port: int) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.server.program", str(folder), str(port),
        cwd=ROOT, stdout=PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.kill
@pytest.mark.parametrize("face", FACES)
async def test_events_go_on_when_the_server_is_killed_and_comes_back(
    face: Any, tmp_path: Path
) -> None:
    """One iterator, two servers: nothing is missing, nothing comes twice."""
    port = free_port()
    async with face(f"http://127.0.0.1:{port}", retries=SOON) as client:
        async with _process(tmp_path, port) as process:
            run = await client.start("talk", 5)
            events = client.events(run)
            seen = []
            async for event in events:
                seen.append(event)
                if isinstance(event, Emitted) and event.value == 4:
                    break
            process.send_signal(signal.SIGKILL)
            await process.wait()
        async with _process(tmp_path, port):
            await client.signal(run, "go")
            seen += [event async for event in client.events(run, after=seen[-1].seq)]
            whole = [event async for event in client.events(run)]
    assert [event.seq for event in seen] == list(range(1, seen[-1].seq + 1))
    assert seen == whole


@pytest.mark.kill
@pytest.mark.parametrize("face", FACES)
async def test_one_iterator_outlives_its_server(face: Any, tmp_path: Path) -> None:
    port = free_port()
    killed = asyncio.Event()
    seen: list[Any] = []

    async def follow(client: Any, run: Any) -> None:
        async for event in client.events(run):
            seen.append(event)
            if isinstance(event, Emitted) and (event.name, event.value) == ("before", 4):
                killed.set()

    async with face(f"http://127.0.0.1:{port}", retries=SOON) as client:
        async with _process(tmp_path, port) as process:
            run = await client.start("talk", 5)
            following = asyncio.create_task(follow(client, run))
            await killed.wait()
            process.send_signal(signal.SIGKILL)
            await process.wait()
        async with _process(tmp_path, port):
            await client.signal(run, "go")
            await following
            whole = [event async for event in client.events(run)]
            assert (await client.wait(run)).result() == "said"
    assert [event.seq for event in seen] == list(range(1, seen[-1].seq + 1))
    assert seen == whole


class Cutter:
    """A way to the server that passes the first ``cuts`` requests on, and loses their answers."""

    def __init__(self, port: int, cuts: int) -> None:
        self.port, self.cuts, self.requests = port, cuts, 0
        self._server: asyncio.Server | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            onward.write(await reader.read(65536))
            self.requests += 1
            lost = self.requests <= self.cuts
            data = await there.read(65536)  # the server has done it by now
            if not lost:
                writer.write(data)
        finally:
            for end in (writer, onward):
                end.close()


@pytest.mark.parametrize("face", FACES)
async def test_a_lost_answer_starts_no_second_run(face: Any, tmp_path: Path) -> None:
    app, calls = App(), []

    @app.agent
    async def greet(name: str) -> str:
        calls.append(name)
        return f"hello {name}"

    async with serving(app, tmp_path) as served:
        assert served.server.address is not None
        cutter = Cutter(served.server.address.port, cuts=2)
        async with cutter.open() as url, face(url, retries=SOON) as client:
            assert await client.run("greet", "Ada") == "hello Ada"
        assert cutter.requests == 3
        assert calls == ["Ada"]
        assert len((await served.http.get("/api/runs")).json()["runs"]) == 1


@pytest.mark.parametrize("face", FACES)
async def test_a_lost_answer_sends_no_second_signal(face: Any, tmp_path: Path) -> None:
    app = App()

    @app.agent
    async def greet(name: str) -> str:
        return name

    async with serving(app, tmp_path, work=False) as served:
        run = (await served.http.post("/api/agents/greet/runs", json={"input": "x"})).json()["id"]
        assert served.server.address is not None
        cutter = Cutter(served.server.address.port, cuts=1)
        async with cutter.open() as url, face(url, retries=SOON) as client:
            assert await client.signal(run, "go", 1) == 1
        assert len(await served.store.signals(run)) == 1


@pytest.mark.parametrize("face", FACES)
async def test_nobody_there(face: Any) -> None:
    quick = Retries(attempts=2, base=0.01)
    async with face(f"http://127.0.0.1:{free_port()}", retries=quick) as client:
        with pytest.raises(Unreachable):
            await client.agents()
        with pytest.raises(Unreachable):
            _ = [event async for event in client.events("0" * 32)]
