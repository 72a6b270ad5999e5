"""Small documents, changed by compare-and-swap, in every store and in Redis."""

from __future__ import annotations

import asyncio
import random
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from perdure.core.shared import LONGEST, TOPIC, Document, Swap
from perdure.errors import ConfigError, StoreUnavailable, UsageError
from perdure.store import Store
from perdure.store.postgres import link as link_module
from perdure.store.postgres.trouble import is_deadlock
from perdure.store.redis import RedisShared
from tests.contract.conftest import Postgres, make_database
from tests.contract.driver import PATIENCE_S, Database, Heard
from tests.contract.keepers import Keeper, Place, increment, raised
from tests.servers import PostgresServer, RedisServer, offered

NOTHING = Document()


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    with offered(RedisServer()) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres", "redis"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis")
        return Place(f"{server.url}#{uuid.uuid4().hex}")
    return Place((await make_database(request, tmp_path, empty=False)).url)


@pytest.fixture
async def keeper(place: Place) -> AsyncIterator[Keeper]:
    async with place.opened() as keeper:
        yield keeper


@pytest.fixture
async def second(place: Place) -> AsyncIterator[Keeper]:
    async with place.opened() as keeper:
        yield keeper


async def test_a_document_is_made_changed_and_deleted(keeper: Keeper, second: Keeper) -> None:
    assert (await keeper.swap(["a"])).documents == {"a": NOTHING}
    made = await keeper.swap([], [Swap("a", 0, b"1")])
    first = made.documents["a"]
    assert (made.done, first.body) == (True, b"1")
    assert first.version > 0
    assert (await second.swap(["a"])).documents == {"a": first}
    changed = await second.swap([], [Swap("a", first.version, b"2")])
    assert changed.documents["a"] == (first.version + 1, b"2")
    assert changed.done
    gone = await keeper.swap([], [Swap("a", first.version + 1, b"")])
    assert (gone.done, gone.documents) == (True, {"a": NOTHING})
    assert (await second.swap(["a"])).documents == {"a": NOTHING}


async def test_documents_are_listed_by_the_beginning_of_their_keys(
    keeper: Keeper, second: Keeper
) -> None:
    names = ["a/b", "a/b*", "a/[x]", "a/é", "ab", "a", "b/a/b"]
    await keeper.swap([], [Swap(name, 0, name.encode()) for name in names])
    found = await second.listed("a/")
    assert list(found.documents) == ["a/[x]", "a/b", "a/b*", "a/é"]
    assert found.documents["a/é"].body == "a/é".encode()
    assert found.documents == (await second.swap(list(found.documents))).documents
    assert found.now > 0
    assert list((await second.listed("a/b*")).documents) == ["a/b*"]
    assert list((await second.listed("a/", 2)).documents) == ["a/[x]", "a/b"]
    assert (await second.listed("c/")).documents == {}
    assert len((await second.listed("")).documents) == len(names)


async def test_old_news_lose_and_are_told_the_new(keeper: Keeper) -> None:
    first = (await keeper.swap([], [Swap("a", 0, b"1")])).documents["a"]
    for version in (0, first.version - 1, first.version + 1, 7):
        answer = await keeper.swap(["b"], [Swap("a", version, b"x")])
        assert (answer.done, answer.documents) == (False, {"a": first, "b": NOTHING})
    missing = await keeper.swap([], [Swap("b", 1, b"x")])
    assert (missing.done, missing.documents) == (False, {"b": NOTHING})


async def test_all_or_nothing(keeper: Keeper, second: Keeper) -> None:
    made = await keeper.swap([], [Swap("a", 0, b"1"), Swap("c", 0, b"1"), Swap("d", 0, b"1")])
    a, c, d = (made.documents[key] for key in "acd")
    stale = [Swap("a", a.version, b"2"), Swap("b", 0, b"2"), Swap("c", 0, b"2")]
    stale.append(Swap("d", d.version, b""))
    for swaps in (stale, stale[::-1]):
        answer = await keeper.swap([], swaps)
        assert not answer.done
        assert answer.documents == {"a": a, "b": NOTHING, "c": c, "d": d}
    assert (await second.swap(["a", "b", "c", "d"])).documents == answer.documents
    stale[2] = Swap("c", c.version, b"2")
    answer = await keeper.swap([], stale)
    assert answer.done
    assert [answer.documents[key].body for key in "abcd"] == [b"2", b"2", b"2", b""]
    assert (await second.swap(["a", "b", "c", "d"])).documents == answer.documents


async def test_what_was_made_again_is_another(keeper: Keeper) -> None:
    """Who knows a document that was deleted does not change the one that was made since."""
    known: set[int] = set()
    for _ in range(20):
        made = (await keeper.swap([], [Swap("a", 0, b"1")])).documents["a"]
        assert made.version not in known
        known.add(made.version)
        changed = (await keeper.swap([], [Swap("a", made.version, b"2")])).documents["a"]
        known.add(changed.version)
        await keeper.swap([], [Swap("a", changed.version, b"")])


async def test_deleting_what_is_not_there_is_no_change(keeper: Keeper) -> None:
    answer = await keeper.swap([], [Swap("a", 0, b"")])
    assert (answer.done, answer.documents) == (True, {"a": NOTHING})


async def test_a_repeated_call_finds_its_own_change(keeper: Keeper) -> None:
    swaps = [Swap("a", 0, b"1")]
    made = await keeper.swap([], swaps)
    again = await keeper.swap([], swaps)
    assert (again.done, again.documents) == (False, made.documents)


async def test_bodies_and_keys_are_anything(keeper: Keeper) -> None:
    keys = ["a b", "ü:1", "{x}", "quota/anthropic/claude*", "a'b\"c\\d", "x" * 500]
    bodies = [bytes(range(256)) * (i + 1) for i in range(len(keys))]
    swaps = [Swap(key, 0, body) for key, body in zip(keys, bodies, strict=True)]
    assert (await keeper.swap([], swaps)).done
    found = (await keeper.swap([*keys, keys[0], "other"])).documents
    assert [found[key].body for key in keys] == bodies
    assert found["other"] == NOTHING


async def test_nothing_asked_is_the_time(keeper: Keeper) -> None:
    answer = await keeper.swap([])
    assert (answer.done, answer.documents) == (True, {})
    assert answer.now > 0


async def test_a_document_is_changed_once_in_a_call(keeper: Keeper) -> None:
    with pytest.raises(UsageError):
        await keeper.swap([], [Swap("a", 0, b"1"), Swap("a", 0, b"2")])
    assert (await keeper.swap(["a"])).documents == {"a": NOTHING}


# -- many at once ---------------------------------------------------------------------------------


async def test_no_change_is_lost(keeper: Keeper, second: Keeper) -> None:
    tasks = [increment(each, ["a", "b"], 10) for each in (keeper, second) for _ in range(8)]
    refused = sum(await asyncio.gather(*tasks))
    assert refused > 0  # they did meet
    found = (await keeper.swap(["a", "b"])).documents
    assert [found[key].body for key in ("a", "b")] == [b"160", b"160"]


async def test_no_change_of_another_process_is_lost(place: Place, keeper: Keeper) -> None:
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.contract.keepers", place.address, "a,b", "40"
        )
        for _ in range(3)
    ]  # fmt: skip
    await increment(keeper, ["b", "a"], 40)
    async with asyncio.timeout(3 * PATIENCE_S):
        assert [await child.wait() for child in children] == [0, 0, 0]
    found = (await keeper.swap(["a", "b"])).documents
    assert [found[key].body for key in ("a", "b")] == [b"160", b"160"]


async def test_of_many_who_make_a_document_one_wins(keeper: Keeper, second: Keeper) -> None:
    for n in range(10):
        answers = await asyncio.gather(
            *[
                each.swap([], [Swap(f"a{n}", 0, b"%d" % i), Swap(f"b{n}", 0, b"%d" % i)])
                for i, each in enumerate([keeper, second] * 5)
            ]
        )
        (winner,) = [i for i, answer in enumerate(answers) if answer.done]
        found = (await keeper.swap([f"a{n}", f"b{n}"])).documents
        assert [document.body for document in found.values()] == [b"%d" % winner] * 2


async def test_nobody_deadlocks(
    keeper: Keeper, second: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of many documents, in any order, there or not: made, changed and deleted."""
    deadlocks: list[BaseException] = []

    def noted(error: BaseException) -> bool:
        if is_deadlock(error):
            deadlocks.append(error)
        return is_deadlock(error)

    monkeypatch.setattr(link_module, "is_deadlock", noted)
    keys = [f"k{i}" for i in range(12)]
    chance = random.Random(4)
    wins = dict.fromkeys(keys, 0)

    async def work(each: Keeper) -> None:
        for _ in range(30):
            mine = chance.sample(keys, chance.randint(2, 8))
            swaps = raised(await each.swap(mine), mine)
            if chance.random() < 0.2:
                swaps = [swap._replace(body=b"") for swap in swaps]
            if (await each.swap([], swaps)).done:
                for swap in swaps:
                    wins[swap.key] = wins[swap.key] + 1 if swap.body else 0

    async with asyncio.timeout(3 * PATIENCE_S):
        await asyncio.gather(*[work(each) for each in [keeper, second] * 6])
    assert deadlocks == []
    assert sum(wins.values()) > 0
    found = (await keeper.swap(keys)).documents
    assert all(bool(document.version) == bool(document.body) for document in found.values())


# -- the clock, and being told --------------------------------------------------------------------


async def test_the_clock_is_the_keepers(keeper: Keeper, second: Keeper) -> None:
    first = (await keeper.swap(["a"])).now
    then = (await second.swap([], [Swap("a", 0, b"1")])).now
    assert first <= then < first + 60
    keeper.shift_clock(timedelta(hours=1))
    for swaps in ([], [Swap("b", 0, b"1")], [Swap("b", 0, b"2")]):
        now = (await keeper.swap(["a"], swaps)).now
        assert then + 3600 <= now < then + 3660
        assert (await second.swap(["a"])).now < then + 60


async def test_others_are_told_of_some(stores: tuple[Store, Store]) -> None:
    one, two = stores
    heard = Heard(two, TOPIC)
    made = await one.swap([], [Swap("quota/x", 0, b"1"), Swap("halt/agent/a", 0, b"1")])
    assert made.done
    refused = await one.swap([], [Swap("halt/agent/a", 0, b"1"), Swap("halt/agent/c", 0, b"1")])
    assert not refused.done
    version = made.documents["halt/agent/a"].version
    await one.swap([], [Swap("halt/agent/a", version, b""), Swap("breaker/b", 0, b"1")])
    wanted = ["breaker/b", "halt/agent/a", "halt/agent/a"]

    async def told() -> bool:
        return len(heard.payloads) >= len(wanted)

    await heard.until(told)
    assert sorted(heard.payloads) == wanted


# -- outages --------------------------------------------------------------------------------------


async def test_a_keeper_that_is_not_open_says_so(place: Place) -> None:
    keeper = place.make()
    with pytest.raises(StoreUnavailable):
        await keeper.swap(["a"])
    await keeper.open()
    await keeper.swap(["a"], [Swap("b", 0, b"1")])
    await keeper.close()
    await keeper.close()
    for swaps in ([], [Swap("a", 0, b"1")]):
        with pytest.raises(StoreUnavailable):
            await keeper.swap(["a"], swaps)


async def test_a_postgres_that_is_away(postgres: Postgres) -> None:
    with PostgresServer() as server:
        database = Database(server.dsn(server.create_database()))
        await database.upgrade()
        async with database.opened() as store:
            made = await store.swap([], [Swap("a", 0, b"1")])
            server.stop("immediate")
            with pytest.raises(StoreUnavailable):
                await store.swap([], [Swap("a", made.documents["a"].version, b"2")])
            server.start()
            again = await store.swap(["a"])
            assert (again.documents, again.fresh) == (made.documents, False)


async def test_a_swap_waits_for_its_locks_and_then_reads_the_clock(postgres: Postgres) -> None:
    database = await postgres.database(empty=False)
    holder = await asyncpg.connect(database.url)
    watcher = await asyncpg.connect(database.url)
    async with database.opened() as store:
        await holder.execute("begin")
        await holder.fetch("select * from perdure.swap('{}', '{a}', '{0}', '{x}', '{}')")
        waiting = asyncio.create_task(store.swap(["a"], [Swap("b", 0, b"1"), Swap("a", 0, b"1")]))
        async with asyncio.timeout(PATIENCE_S):
            while not await watcher.fetchval(
                "select exists (select from pg_locks where locktype = 'advisory' and not granted)"
            ):
                pass
        before = await watcher.fetchval("select extract(epoch from clock_timestamp())::float8")
        await holder.execute("commit")
        answer = await waiting
    assert not answer.done
    assert (answer.documents["a"].body, answer.documents["b"]) == (b"x", NOTHING)
    assert answer.now > before
    await holder.close()
    await watcher.close()


# -- Redis only -----------------------------------------------------------------------------------


async def test_a_store_never_forgets(store: Store) -> None:
    assert not (await store.swap(["a"])).fresh


async def test_redis_says_that_it_forgot() -> None:
    with RedisServer() as server:
        keeper = RedisShared(server.url)
        await keeper.open()
        marker = "{perdure}:since"
        answer = await keeper.swap([], [Swap("a", 0, b"1")])
        assert answer.fresh
        version = answer.documents["a"].version
        await keeper._client.set(marker, int((answer.now - LONGEST - 1) * 1_000_000))
        for swaps in ([], [Swap("b", 0, b"1")], [Swap("b", 0, b"1")]):
            assert not (await keeper.swap(["a", "c"], swaps)).fresh
        await keeper._client.flushall()
        # Nor is one who remembers taken for one who knows.
        answer = await keeper.swap([], [Swap("a", version, b"2")])
        assert (answer.fresh, answer.done, answer.documents) == (True, False, {"a": NOTHING})
        again = await keeper.swap([], [Swap("a", 0, b"2")])
        assert (again.fresh, again.done) == (True, True)
        assert again.documents["a"].version != version
        await keeper.close()


async def test_a_redis_that_is_away() -> None:
    with RedisServer(durable=True) as server:
        keeper = RedisShared(server.url)
        heard: list[str] = []
        woken = asyncio.Event()

        def hear(payload: str) -> None:
            heard.append(payload)
            woken.set()

        undo = keeper.listen(TOPIC, hear)
        await keeper.open()
        made = await keeper.swap([], [Swap("a", 0, b"1"), Swap("halt/agent/a", 0, b"1")])
        async with asyncio.timeout(PATIENCE_S):
            await woken.wait()
        assert heard == ["halt/agent/a"]
        woken.clear()
        server.kill()
        for swaps in ([], [Swap("b", 0, b"1")]):
            with pytest.raises(StoreUnavailable) as away:
                await keeper.swap(["a"], swaps)
            assert away.value.hint is not None
        server.start()
        again = await keeper.swap(["a", "halt/agent/a"])
        assert again.documents == made.documents
        async with asyncio.timeout(PATIENCE_S):
            await woken.wait()
        assert heard == ["halt/agent/a", "*"]
        undo()
        await keeper.swap([], [Swap("halt/agent/b", 0, b"1")])
        await keeper.close()
        assert len(heard) == 2
    with pytest.raises(StoreUnavailable):
        await RedisShared(server.url).open()


async def test_a_redis_that_hangs_is_given_up() -> None:
    accepted = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    brief = timedelta(seconds=0.05)
    with pytest.raises(StoreUnavailable):
        await RedisShared(f"redis://127.0.0.1:{port}", timeout=brief).open()
    assert accepted.is_set()
    server.close()
    await server.wait_closed()


async def test_redis_refuses(redis: RedisServer) -> None:
    with pytest.raises(ConfigError) as refused:
        RedisShared("http://user:secret@host/")
    assert "secret" not in str(refused.value)
    keeper = RedisShared(redis.url.replace("//", "//user:secret@"))
    with pytest.raises(ConfigError) as refused:
        await keeper.open()
    assert "secret" not in str(refused.value)


async def test_redis_keeps_installations_apart(redis: RedisServer) -> None:
    one, two = (RedisShared(redis.url, prefix=f"{uuid.uuid4()}") for _ in range(2))
    await one.open()
    await two.open()
    assert (await one.swap([], [Swap("a", 0, b"1")])).done
    assert (await two.swap(["a"])).documents == {"a": NOTHING}
    await one.close()
    await two.close()


async def test_redis_keeps_all_of_it_in_one_slot(redis: RedisServer) -> None:
    keeper = RedisShared(redis.url, prefix="slots")
    await keeper.open()
    await keeper.swap([], [Swap(f"{{k{i}}}/x", 0, b"1") for i in range(5)])
    names = [name async for name in keeper._client.scan_iter("*slots*")]
    assert len(names) == 6
    assert {name.partition(b"}")[0] for name in names} == {b"{slots"}
    await keeper.close()
