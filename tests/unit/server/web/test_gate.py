"""What every request passes: the clock, and who calls."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perdure.config import ServerConfig
from perdure.observe.metrics import Traffic
from perdure.server.auth import Access, Caller
from perdure.server.web.gate import CALLER, CLOCK, Gate, Identify, offered
from perdure.store import Store, make_store


@pytest.fixture
async def store(tmp_path: Path) -> Any:
    made = make_store(f"sqlite:///{tmp_path}/x.db")
    await made.open(check=False)
    await made.upgrade()
    yield made
    await made.close()


async def ask(
    app: ASGIApp,
    store: Store,
    path: str = "/x",
    *,
    seconds: float = 0.01,
    root_path: str = "",
    host: bytes = b"localhost",
    identify: Identify | None = None,
) -> tuple[int, Any]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    gate = Gate(
        app, access=Access(store, ServerConfig()), traffic=Traffic(),
        probes=frozenset({"/healthz", "/problems/"}), routes={}, seconds=seconds, identify=identify,
    )  # fmt: skip
    scope = {
        "type": "http", "method": "GET", "path": root_path + path, "root_path": root_path,
        "headers": [(b"host", host)],
    }  # fmt: skip
    await gate(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], orjson.loads(body) if body.startswith(b"{") else body


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.get_running_loop().create_future()


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    name = scope[CALLER].name if CALLER in scope else "nobody"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": name.encode()})


async def test_an_answer_that_does_not_begin_is_ended(store: Store) -> None:
    status, problem = await ask(never, store)
    assert (status, problem["code"], problem["retryable"]) == (503, "unavailable", True)


async def test_whoever_is_asked_to_wait_extends_the_time(store: Store) -> None:
    async def patient(scope: Scope, receive: Receive, send: Send) -> None:
        scope[CLOCK].extend(60)
        await asyncio.sleep(0.03)
        await fine(scope, receive, send)

    assert (await ask(patient, store))[0] == 200


async def test_an_answer_that_began_may_take_its_time(store: Store) -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.03)
        await send({"type": "http.response.body", "body": b"late"})

    assert await ask(slow, store) == (200, b"late")


async def test_a_timeout_of_the_apps_own_is_no_late_answer(store: Store) -> None:
    async def own(scope: Scope, receive: Receive, send: Send) -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await ask(own, store, seconds=60)


async def test_probes_are_found_where_the_app_is_mounted(store: Store) -> None:
    for path in ("/healthz", "/problems/not_found"):
        assert await ask(fine, store, path, root_path="/sub", host=b"a.com") == (200, b"nobody")
    assert (await ask(fine, store, "/x", root_path="/sub", host=b"a.com"))[0] == 403


async def test_the_host_app_says_who_calls(store: Store) -> None:
    async def late(connection: HTTPConnection) -> Caller:
        return Caller(name=connection.headers["host"])

    assert await ask(fine, store, host=b"a.com", identify=late) == (200, b"a.com")
    plain = await ask(fine, store, host=b"b.com", identify=lambda _: Caller(name="ada"))
    assert plain == (200, b"ada")


def test_a_key_among_the_subprotocols() -> None:
    assert offered(["perdure.v1", "perdure.key.pk_a_b"]) == "pk_a_b"
    assert offered(["perdure.v1"]) is None
