"""README and guides do what they say: their commands are executed in order, in an empty folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.testing.simulator import ProviderSimulator, research
from tests.docs.pages import Page, runnable
from tests.docs.terminal import Terminal
from tests.servers import PostgresServer, free_port, offered

# What a reader has time for and a test has not.
QUICKER = {"asyncio.sleep(1)": "asyncio.sleep(0.4)", "delay=1.0": "delay=0.6"}
POSTGRES = "postgresql://perdure@db.internal/perdure"


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """A model provider that uses each tool once and then reports."""
    with ProviderSimulator(research(1)) as simulator:
        yield simulator.url


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A PostgreSQL database."""
    with offered(PostgresServer()) as server:
        yield server.dsn(server.create_database())


def follow(page: Page, folder: Path, provider: str, own: dict[str, str]) -> None:
    """Do what the page says. ``own``: more of its words to replace."""
    port = str(free_port())  # for 8080, which is also the default
    proxy = str(free_port())  # for 8090, likewise
    swaps = {"8080": port, "8090": proxy, "9000": str(free_port()), "0.0.0.0": "127.0.0.1"}
    swaps |= {**QUICKER, **own}
    swapped = re.compile("|".join(map(re.escape, swaps)))
    with Terminal(folder, provider=provider) as terminal:
        terminal.environ["PERDURE_SERVER_PORT"] = port
        terminal.environ["PERDURE_PROXY_PORT"] = proxy
        for block in page.blocks:
            code = swapped.sub(lambda found: swaps[found[0]], block.code)
            if block.mark == "file":
                terminal.write(block.name, code)
            elif block.mark == "run":
                terminal.run(code)
            elif block.mark == "background":
                terminal.background(code)
            elif block.mark == "shows":
                terminal.shows(code)


@pytest.mark.parametrize("page", runnable(), ids=lambda page: page.name)
def test_page(page: Page, tmp_path: Path, provider: str, request: pytest.FixtureRequest) -> None:
    own = {"/srv/perdure": str(tmp_path)}
    if POSTGRES in page.text:
        own[POSTGRES] = request.getfixturevalue("database")
    follow(page, tmp_path, provider, own)
