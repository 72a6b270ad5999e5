"""Databases that are not ready: what each command says, and its exit code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.program import Place
from tests.servers import PostgresServer, free_port, offered


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    pytest.importorskip("asyncpg")
    with offered(PostgresServer()) as server:
        yield server


@pytest.mark.parametrize("command", ["serve", "worker", "dev"])
def test_an_old_schema_on_a_server_is_the_operators_business(
    place: Place, server: PostgresServer, command: str
) -> None:
    url = server.dsn(server.create_database())
    code, _, err = place.run(command, "agents.py:child", "--store", url)
    assert code == 8
    assert "hint: Run: perdure db upgrade" in err
    assert "Traceback" not in err


def test_upgrade_check_and_run_on_a_server(place: Place, server: PostgresServer) -> None:
    url = server.dsn(server.create_database())
    env = {"PERDURE_STORE": url}
    assert place.run("db", "check", env=env)[0] == 8
    code, out, err = place.run("db", "upgrade", env=env)
    assert code == 0, err
    assert "applied  0001" in out
    assert place.run("db", "check", env=env)[0] == 0
    code, out, err = place.run("run", "agents.py:app", "x", "--agent", "parent", env=env)
    assert (code, out) == (0, "CHILD OF X"), err
    assert place.run("runs", "list", "--agent", "child", env=env)[1].count("succeeded") == 1


def test_a_server_that_is_not_there(place: Place) -> None:
    url = f"postgresql://me:secret@127.0.0.1:{free_port()}/none"
    code, _, err = place.run("runs", "list", "--store", url)
    assert code == 7
    assert "secret" not in err
    assert "Traceback" not in err


def test_a_file_that_is_no_database(place: Place, tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("remember the milk\n" * 100)
    code, _, err = place.run("run", "agents.py:child", "x", "--store", "sqlite:///notes.db")
    assert code == 2
    assert "is not a SQLite database" in err
    assert (tmp_path / "notes.db").read_text().startswith("remember")
