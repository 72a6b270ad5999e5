"""README and guides do what they say: their commands are executed in order, in an empty folder.

Pages are independent, and mostly wait: some are executed at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from perdure.testing.simulator import ProviderSimulator, research
from tests.docs.pages import Page, runnable
from tests.docs.terminal import Terminal
from tests.servers import PostgresServer, ServerMissing, free_port, unavailable

AT_A_TIME = 3
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
    server = PostgresServer()
    try:
        server.start()
    except ServerMissing as missing:
        unavailable(missing)
    yield server.dsn(server.create_database())
    server.close()


@pytest.fixture(scope="module")
def followed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, provider: str
) -> Iterator[dict[str, Future[None]]]:
    """The pages that this session wants, under way. Those with a database come at their turn."""
    wanted = [
        page
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.originalname == "test_page"
        and isinstance(page := item.callspec.params["page"], Page)
    ]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        yield {
            page.name: pool.submit(follow, page, tmp_path_factory.mktemp("page"), provider, {})
            for page in wanted
            if POSTGRES not in page.text
        }


def follow(page: Page, folder: Path, provider: str, own: dict[str, str]) -> None:
    """Do what the page says. ``own``: more of its words to replace."""
    port = str(free_port())  # for 8080, which is also the default
    swaps = {"8080": port, "9000": str(free_port()), "0.0.0.0": "127.0.0.1", **QUICKER, **own}
    swapped = re.compile("|".join(map(re.escape, swaps)))
    with Terminal(folder, provider=provider) as terminal:
        terminal.environ["PERDURE_SERVER_PORT"] = port
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
def test_page(
    page: Page,
    followed: dict[str, Future[None]],
    tmp_path: Path,
    provider: str,
    request: pytest.FixtureRequest,
) -> None:
    if POSTGRES in page.text:
        own = {POSTGRES: request.getfixturevalue("database"), "/srv/perdure": str(tmp_path)}
        follow(page, tmp_path, provider, own)
    else:
        followed[page.name].result()
