"""Wake-ups between processes: where the sockets are, and what happens when they cannot be."""

from __future__ import annotations

import asyncio
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.store.sqlite import SqliteStore, wakes
from perdure.store.sqlite.connection import Address
from perdure.store.sqlite.wakes import Wakes
from tests.contract.driver import Heard, add


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one: the address of a socket has 108 bytes, and longer ones go elsewhere."""
    with tempfile.TemporaryDirectory(prefix="w-") as folder:
        yield Path(folder)


@pytest.fixture
async def pair(path: Path) -> tuple[Wakes, Wakes]:
    address = Address.parse(f"sqlite:///{path}")
    return Wakes(address), Wakes(address)


class Ear:
    """Hears one topic of a ``Wakes``."""

    def __init__(self, wakes: Wakes, topic: str) -> None:
        self.payloads: list[str] = []
        self._event = asyncio.Event()
        wakes.listen(topic, self._hear)

    def _hear(self, payload: str) -> None:
        self.payloads.append(payload)
        self._event.set()

    async def something(self) -> list[str]:
        async with asyncio.timeout(10):
            await self._event.wait()
        self._event.clear()
        return self.payloads


async def test_the_folder_is_private_and_sockets_go_with_their_store(
    path: Path, store: SqliteStore
) -> None:
    folder = path.with_name(path.name + ".wake")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (own,) = folder.iterdir()
    assert stat.S_ISSOCK(own.stat().st_mode)
    await store.close()
    assert list(folder.iterdir()) == []


async def test_a_long_path_moves_to_the_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        folder = tmp_path / ("x" * 120)
        folder.mkdir()
        address = Address.parse(f"sqlite:///{folder}/perdure.db")
        one, two = Wakes(address), Wakes(address)
        await one.open()
        await two.open()
        (there,) = await asyncio.to_thread(lambda: list(Path(short).iterdir()))
        assert stat.S_IMODE(there.stat().st_mode) == 0o700
        assert len(list(there.iterdir())) == 2
        ear = Ear(two, "work")
        one.told([("work", "q", True)])
        assert await ear.something() == ["q"]
        one.close()
        two.close()


async def test_another_users_folder_is_not_used(path: Path, pair: tuple[Wakes, Wakes]) -> None:
    folder = path.with_name(path.name + ".wake")
    folder.mkdir()
    folder.chmod(0o777)
    await pair[0].open()
    assert list(folder.iterdir()) == []
    pair[0].close()


async def test_without_sockets_the_database_is_polled(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    polling = SqliteStore(store.url)
    await polling.open()
    heard = Heard(polling, "work")
    await add(store)
    await heard.something()
    assert set(heard.payloads) == {"*"}
    await polling.close()


async def test_only_what_is_for_others_is_sent(pair: tuple[Wakes, Wakes]) -> None:
    one, two = pair
    await one.open()
    await two.open()
    here, there = Ear(one, "run:a"), Ear(two, "run:a")
    one.told([("run:a", "near", False)])
    assert await here.something() == ["near"]
    one.told([("run:a", "far", True)])
    assert await there.something() == ["far"]
    one.close()
    two.close()


async def test_too_much_for_a_message_is_anything(pair: tuple[Wakes, Wakes]) -> None:
    one, two = pair
    await one.open()
    await two.open()
    ear = Ear(two, "work")
    one.told([(f"run:{i}" * 50, "", True) for i in range(1000)])
    assert await ear.something() == ["*"]
    one.close()
    two.close()


async def test_a_full_buffer_loses_nothing(pair: tuple[Wakes, Wakes], path: Path) -> None:
    one, two = pair
    await one.open()
    await two.open()
    ear = Ear(two, "last")
    # The event loop does not run meanwhile, so the receiver reads nothing.
    for i in range(5000):
        one.told([("other", str(i) * 50, True)])
    one.told([("last", "lost", True)])
    assert list(path.parent.glob("*.wake/*.lost"))
    assert await ear.something() == ["*"]
    assert not list(path.parent.glob("*.wake/*.lost"))
    one.told([("last", "heard", True)])
    assert (await ear.something())[-1] == "heard"
    one.close()
    two.close()


async def test_a_dead_processs_socket_is_removed(pair: tuple[Wakes, Wakes], path: Path) -> None:
    one, _ = pair
    await one.open()
    folder = path.with_name(path.name + ".wake")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(folder / "dead"))
    (folder / "dead.lost").touch()
    one.told([("work", "q", True)])
    assert [entry.name for entry in folder.iterdir()] == [Path(str(one._path)).name]
    one.close()


async def test_a_missing_folder_is_survived(pair: tuple[Wakes, Wakes], path: Path) -> None:
    one, _ = pair
    await one.open()
    ear = Ear(one, "work")
    folder = path.with_name(path.name + ".wake")
    next(folder.iterdir()).unlink()
    folder.rmdir()
    one.told([("work", "q", True)])
    assert await ear.something() == ["q"]
    one.close()


async def test_one_listener_that_raises_does_not_deafen_the_others(
    store: SqliteStore,
) -> None:
    caught: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: caught.append(context))

    def fail(payload: str) -> None:
        raise ValueError(payload)

    store.listen("work", fail)
    heard = Heard(store, "work")
    await add(store)
    await heard.something()
    assert len(caught) == 1


def test_paths_fit_into_a_socket_address() -> None:
    assert wakes.LONGEST_PATH <= 103
