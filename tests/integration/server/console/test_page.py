"""The page for browsers at ``/``: served without a key, opening nothing else; and, where a Chromium
is installed, as it looks after its script ran."""

from __future__ import annotations

import asyncio
import html
import shutil
from pathlib import Path

import pytest

from perdure.app import App
from perdure.server import console
from perdure.server.keys import READ, create
from tests.integration.server.serving import Served, serving

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
HOSTILE = "<img src=x onerror=alert(1)>&amp;\"'"


def app() -> App:
    made = App()

    @made.agent
    async def greet(name: str) -> str:
        """Greets <b>people</b>."""
        return f"hello {name}"

    return made


@pytest.mark.parametrize("path", sorted(console.PATHS))
async def test_its_files_need_no_key_and_everything_else_does(path: str, tmp_path: Path) -> None:
    async with serving(app(), tmp_path, work=False) as served:
        await create(served.store, "ci", (READ,))
        answer = await served.http.get(path)
        assert answer.status_code == 200
        for name, value in console.HEADERS.items():
            assert answer.headers[name] == value
        again = await served.http.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        # That "/" is open opens nothing below it.
        for closed in ("/api/runs", "/api/agents", "/metrics", "/console/", "/nothing"):
            assert (await served.http.get(closed)).status_code == 401, closed


async def test_it_can_be_switched_off(tmp_path: Path) -> None:
    async with serving(app(), tmp_path, work=False, server__console=False) as served:
        for path in console.PATHS:
            assert (await served.http.get(path)).status_code == 404


async def dom(served: Served, fragment: str) -> str:
    """The page's text after its script ran."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000",
        "--dump-dom", f"{served.url}/{fragment}",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    out, _ = await process.communicate()
    return out.decode()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
async def test_a_browser_shows_agents_runs_and_what_they_did_as_text(tmp_path: Path) -> None:
    async with serving(app(), tmp_path) as served:
        answer = await served.http.post(
            "/api/agents/greet/runs", json={"input": HOSTILE}, headers={"prefer": "wait=20"}
        )
        run_id = answer.json()["id"]
        home = await dom(served, "")
        assert 'href="#/agents/greet"' in home
        assert "Greets &lt;b&gt;people&lt;/b&gt;." in home
        assert f'href="#/runs/{run_id}"' in home
        form = await dom(served, "#/agents/greet")
        assert "<textarea" in form
        assert "JSON Schema" in form
        run = await dom(served, f"#/runs/{run_id}")
        assert f"hello {html.escape(HOSTILE, quote=False)}" in run
        assert "<img" not in run
        assert "state succeeded" in run


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
async def test_a_browser_without_a_key_is_asked_for_one(tmp_path: Path) -> None:
    async with serving(app(), tmp_path, work=False) as served:
        await create(served.store, "ci", (READ,))
        assert 'type="password"' in await dom(served, "")
