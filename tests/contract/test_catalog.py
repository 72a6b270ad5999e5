"""What is looked up: runs, agents, keys, stored requests (Z1)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from perdure.core.run import RunState
from perdure.core.trace import onward, trace_id
from perdure.errors import Conflict, NotFound
from perdure.store import Store
from perdure.store.rows import AgentInfo, ApiKey, Filter, Idempotency, Intake, Message
from tests.contract.driver import add, new, settle, started

GONE = "00000000-0000-0000-0000-000000000000"


async def found(store: Store, **fields: object) -> list[str]:
    return [run.id for run in await store.find(Filter(**fields))]  # type: ignore[arg-type]


async def test_runs_are_listed_newest_first(store: Store) -> None:
    runs = [await add(store) for _ in range(5)]
    assert await found(store) == runs[::-1]
    assert await found(store, limit=2) == [runs[4], runs[3]]
    assert await found(store, limit=2, before=runs[3]) == [runs[2], runs[1]]


async def test_a_listing_carries_no_payloads(store: Store) -> None:
    lease = await started(store, input=b"in")
    await settle(store, lease, RunState.FAILED, result=b"out", error=b'{"message":"no"}')
    (run,) = await store.find(Filter())
    assert (run.input, run.result, run.error) == (None, None, {"message": "no"})
    assert await store.get(lease.run_id, payloads=False) == run
    whole = await store.get(lease.run_id)
    assert (whole.input, whole.result) == (b"in", b"out")


async def test_runs_are_filtered(store: Store) -> None:
    a = await add(store, agent="x", tenant="t", session="s", labels={"env": "prod", "n": "1"})
    b = await add(store, agent="x", parent=a, labels={"env": "test"})
    c = await started(store, agent="y")
    await settle(store, c)
    assert await found(store, agent="x") == [b, a]
    assert await found(store, tenant="t") == [a]
    assert await found(store, session="s") == [a]
    assert await found(store, parent=a) == [b]
    assert await found(store, states=(RunState.SUCCEEDED,)) == [c.run_id]
    assert await found(store, states=(RunState.SUCCEEDED, RunState.QUEUED)) == [c.run_id, b, a]
    assert await found(store, labels={"env": "prod"}) == [a]
    assert await found(store, labels={"env": "prod", "n": "2"}) == []
    assert await found(store, agent="x", states=(RunState.FAILED,)) == []


async def test_a_listing_goes_on_after_a_place(store: Store) -> None:
    runs = [await store.get(await add(store)) for _ in range(3)]
    places = [run.n for run in runs]
    assert places == sorted(set(places))
    assert await found(store, before_n=places[2]) == [runs[1].id, runs[0].id]
    assert await found(store, before_n=places[0]) == []


async def test_runs_are_found_by_their_trace(store: Store) -> None:
    own = await add(store)
    given = await add(store, trace=f"00-{'a' * 32}-{'b' * 16}-01")
    child = await add(store, parent=own, trace=onward(own, None))
    assert await found(store, trace_id="a" * 32) == [given]
    assert await found(store, trace_id=trace_id(own, None)) == [child, own]
    assert await found(store, trace_id=trace_id(given, None)) == []


async def test_a_run_is_found_by_its_idempotency_key(store: Store) -> None:
    mine = await add(store, agent="x", idempotency=Idempotency("k", b"1"))
    theirs = await add(store, agent="x", tenant="t", idempotency=Idempotency("k", b"1"))
    other = await add(store, agent="y", idempotency=Idempotency("k", b"1"))
    assert await found(store, idempotency_key="k") == [other, theirs, mine]
    assert await found(store, agent="x", idempotency_key="k") == [theirs, mine]
    assert await found(store, agent="x", tenant="t", idempotency_key="k") == [theirs]
    assert await found(store, agent="x", idempotency_key="other") == []


async def test_runs_are_filtered_by_time(store: Store) -> None:
    old = await add(store)
    store.shift_clock(timedelta(hours=1))
    between = await store.now()
    store.shift_clock(timedelta(hours=1))
    recent = await add(store)
    assert await found(store, created_after=between) == [recent]
    assert await found(store, created_before=between) == [old]
    assert await found(store, created_after=between, created_before=between) == []


async def test_a_run_that_is_not_there(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.get(GONE)


# -- agents ---------------------------------------------------------------------------------------


async def test_agents_are_announced(store: Store, other: Store) -> None:
    plain = AgentInfo("b", "default", "plain")
    full = AgentInfo("a", "q", "langgraph", "does things", {"type": "object"}, "none",
                     Intake(2, 7, 3, timedelta(seconds=1.5)))  # fmt: skip
    await store.announce([plain, full])
    assert await other.agents() == [full, plain]
    newer = AgentInfo("b", "fast", "plain", "now with words")
    await other.announce([newer])
    assert await store.agents() == [full, newer]


# -- keys -----------------------------------------------------------------------------------------


async def test_keys(store: Store, other: Store) -> None:
    now = await store.now()
    one = ApiKey("k1", "ci", b"h" * 32, ("runs:read", "runs:write"), now)
    two = ApiKey("k2", "ui", b"i" * 32, (), now, expires_at=now + timedelta(days=1))
    await store.add_key(one)
    await store.add_key(two)
    await store.add_key(one)
    with pytest.raises(Conflict):
        await store.add_key(ApiKey("k1", "ci", b"x" * 32, (), now))
    assert await other.key("k1") == one
    assert await other.key("nothing") is None
    assert await other.keys() == [one, two]

    store.shift_clock(timedelta(minutes=1))
    await store.touch_key("k1")
    used = await other.key("k1")
    assert used is not None
    assert used.last_used_at is not None
    assert used.last_used_at >= now + timedelta(minutes=1)

    await store.revoke_key("k1")
    first = await other.key("k1")
    assert first is not None
    assert first.revoked_at is not None
    store.shift_clock(timedelta(minutes=1))
    await store.revoke_key("k1")
    assert await other.key("k1") == first
    with pytest.raises(NotFound):
        await store.revoke_key("nothing")


# -- requests (Z1) --------------------------------------------------------------------------------


def chain(*bodies: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Nodes of a chain of messages, each named by all that came before it."""
    nodes, parent = [], b""
    for body in bodies:
        node = parent + b"/" + body
        nodes.append((node, parent, body))
        parent = node
    return nodes


async def put(store: Store, run_id: str, nodes: list[tuple[bytes, bytes, bytes]]) -> None:
    await store.record([], (), [Message(run_id, *node) for node in nodes])


async def test_a_stored_request_is_read_from_its_tip(store: Store) -> None:
    run_id = (await store.enqueue([new()]))[0].id
    nodes = chain(b"a", b"b", b"c")
    await put(store, run_id, nodes)
    assert await store.get_messages(run_id, nodes[2][0]) == [b"a", b"b", b"c"]
    assert await store.get_messages(run_id, nodes[0][0]) == [b"a"]


async def test_requests_branch(store: Store) -> None:
    run_id = await add(store)
    left, right = chain(b"a", b"b", b"c"), chain(b"a", b"b", b"d")
    await put(store, run_id, left)
    await put(store, run_id, right)
    assert await store.get_messages(run_id, left[-1][0]) == [b"a", b"b", b"c"]
    assert await store.get_messages(run_id, right[-1][0]) == [b"a", b"b", b"d"]


async def test_known_messages_stay_and_new_ones_are_all_that_is_needed(store: Store) -> None:
    run_id = await add(store)
    nodes = chain(*(str(i).encode() for i in range(200)))
    await put(store, run_id, nodes[:100])
    # A chat that grows sends what is new; what is there already is not replaced.
    node, parent, _ = nodes[99]
    await put(store, run_id, [(node, parent, b"other"), *nodes[100:]])
    assert await store.get_messages(run_id, nodes[-1][0]) == [body for _, _, body in nodes]


async def test_requests_are_a_runs_own(store: Store) -> None:
    one, two = await add(store), await add(store)
    nodes = chain(b"a", b"b")
    await put(store, one, nodes)
    with pytest.raises(NotFound):
        await store.get_messages(two, nodes[-1][0])
    with pytest.raises(NotFound):
        await store.get_messages(one, b"nothing")
    await put(store, GONE, nodes)
    with pytest.raises(NotFound):
        await store.get_messages(GONE, nodes[-1][0])
    await put(store, one, [(b"loose", b"missing", b"x")])
    with pytest.raises(NotFound):
        await store.get_messages(one, b"loose")
