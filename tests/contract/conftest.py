"""Every test of this folder runs on each store, on a database of its own."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from perdure.store import Store
from tests.contract.driver import Database
from tests.servers import PostgresServer, offered, unavailable


class Postgres:
    """A server, and the database that others are copied from, made at the first use."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._template: str | None = None

    async def database(self, *, empty: bool) -> Database:
        """A new database: without a schema where ``empty``."""
        if empty:
            return self._at(self._server.create_database())
        if self._template is None:
            name = self._server.create_database()
            await self._at(name).upgrade()
            self._template = name
        return self._at(self._server.create_database(template=self._template))

    def _at(self, name: str) -> Database:
        return Database(self._server.dsn(name))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with offered(PostgresServer()) as server:
        yield Postgres(server)


async def make_database(request: pytest.FixtureRequest, folder: Path, *, empty: bool) -> Database:
    """The database for this test's store."""
    if request.param == "postgres":
        try:
            importlib.import_module("perdure.store.postgres.store")
        except ImportError as missing:
            unavailable(missing)
        server: Postgres = request.getfixturevalue("postgres")
        return await server.database(empty=empty)
    database = Database(f"sqlite:///{folder}/perdure.db")
    if not empty:
        await database.upgrade()
    return database


STORES = ["sqlite", "postgres"]


@pytest.fixture(params=STORES)
async def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """A database without a schema."""
    return await make_database(request, tmp_path, empty=True)


@pytest.fixture(params=STORES)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """A database with the schema."""
    return await make_database(request, tmp_path, empty=False)


@pytest.fixture
async def stores(database: Database) -> AsyncIterator[tuple[Store, Store]]:
    """Two stores on one database, as two processes see it."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(database.opened())
        second = await stack.enter_async_context(database.opened())
        yield first, second


@pytest.fixture
def store(stores: tuple[Store, Store]) -> Store:
    return stores[0]


@pytest.fixture
def other(stores: tuple[Store, Store]) -> Store:
    return stores[1]
