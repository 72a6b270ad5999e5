"""``perdure dev --gateway``: the proxy beside the server, as long as that."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from perdure.testing.simulator import ProviderSimulator
from tests.integration.proxy.conftest import WORDS
from tests.integration.proxy.program import REAL, WAIT, environ, settings

AGENT = """
import asyncio, os, perdure

CURL = '''curl -s $OPENAI_BASE_URL/chat/completions -H "authorization: Bearer $OPENAI_API_KEY" \
  -d '{"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}' '''

@perdure.step
async def compute() -> str:
    process = await asyncio.create_subprocess_shell(
        CURL, env={**os.environ, **perdure.subprocess_env()}, stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0].decode()

async def outer(text: str) -> str:
    return await compute()
"""


@contextmanager
def dev(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """The process, the proxy's URL, the server's."""
    (folder / "agent.py").write_text(AGENT)
    process = subprocess.Popen(
        [
            sys.executable, "-m", "perdure.cli.main", "dev", "agent.py:outer", "--gateway",
            "--port", "0", *options,
        ],
        cwd=folder, env=environ({"REAL_KEY": REAL, "PERDURE_PROXY_PORT": "0"}),
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    found: list[str] = []
    try:
        for line in process.stderr:
            if url := re.search(r"(?:proxy|URL)\s+(http://\S+)", line):
                found.append(url[1])
            if len(found) == 2:
                break
        proxy, server = found
        yield process, proxy, server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(WAIT)
        process.stderr.close()


async def gone(url: str) -> None:
    """Until nobody listens there."""
    async with asyncio.timeout(20), httpx2.AsyncClient() as http:
        while True:
            try:
                await http.get(f"{url}/healthz")
            except httpx2.TransportError:
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("options", [("--reload",), ("--no-reload",)])
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_programs_find_the_proxy(
    tmp_path: Path, sim: ProviderSimulator, options: tuple[str, ...], end: signal.Signals
) -> None:
    """It knows where it is without any setting, and it ends with the server, however that ends."""
    (tmp_path / "perdure.toml").write_text(settings(sim))
    with dev(tmp_path, *options) as (process, proxy, server):
        async with httpx2.AsyncClient(timeout=WAIT) as http:
            run = await http.post(
                f"{server}/api/agents/outer/runs", json={"input": "x"},
                headers={"prefer": "wait=20"},
            )  # fmt: skip
        assert WORDS in run.json()["result"], run.text
        assert [call.key for call in sim.calls()] == [REAL]
        process.send_signal(end)
        await gone(proxy)
