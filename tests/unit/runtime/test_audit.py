"""C9: contact with the outside that no effect covers is reported, with its line."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import step
from perdure.runtime.audit import Audit, Contact
from tests.unit.runtime.harness import House


@pytest.fixture
def contacts() -> Iterator[list[Contact]]:
    found: list[Contact] = []
    audit = Audit(found.append)
    audit.start()
    yield found
    audit.stop()


async def test_each_kind_is_reported_once_with_its_line(
    house: House, contacts: list[Contact], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def agent() -> None:
            for _ in range(2):
                (tmp_path / "note.txt").write_text("hello")
            (tmp_path / "note.txt").read_text()
            with socket.create_connection(("127.0.0.1", port)):
                pass
            subprocess.run([sys.executable, "-c", ""], check=True)

        house.serve(agent)
        await house.worker()
        await house.until(await house.submit("agent"), "succeeded")
    assert [c.what for c in contacts] == ["writes a file", "opens a connection", "starts a process"]
    assert {c.file for c in contacts} == {__file__}
    assert len({c.line for c in contacts}) == 3


async def test_inside_an_effect_and_outside_a_run_nothing_is_reported(
    house: House, contacts: list[Contact], tmp_path: Path
) -> None:
    @step
    async def save() -> None:
        (tmp_path / "note.txt").write_text("hello")

    async def agent() -> None:
        await save()
        await asyncio.sleep(0)

    house.serve(agent)
    await house.worker()
    await house.until(await house.submit("agent"), "succeeded")
    (tmp_path / "other.txt").write_text("outside any run")
    assert contacts == []
