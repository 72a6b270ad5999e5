"""The patch (rule T1): put in once, taken out again, and at peace with others that wrap the same
methods."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import httpx
import httpx2
import pytest
import respx
from opentelemetry.instrumentation.httpx import (
    HTTPX2ClientInstrumentor,
    HTTPXClientInstrumentor,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from perdure import gateway
from perdure.gateway.httpx_transport import AsyncTransport as AsyncHTTPXTransport
from perdure.gateway.httpx_transport import Transport as HTTPXTransport
from perdure.testing.redirect import redirect
from tests.unit.gateway.boundary import MemoryRun
from tests.unit.gateway.server import CountingServer

URL = "https://api.openai.com/v1/responses"
ASKED = {"model": "m"}
METHODS = [(library.AsyncHTTPTransport, "handle_async_request") for library in (httpx2, httpx)] + [
    (library.HTTPTransport, "handle_request") for library in (httpx2, httpx)
]
both = pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])


@contextmanager
def capturing() -> Iterator[None]:
    gateway.install()
    try:
        yield
    finally:
        gateway.uninstall()


def methods() -> list[Any]:
    return [getattr(cls, name) for cls, name in METHODS]


def test_it_is_put_in_once_and_taken_out_with_its_last_user() -> None:
    before = methods()
    first = gateway.install()
    inside = methods()
    assert all(a is not b for a, b in zip(before, inside, strict=True))
    assert gateway.install() is first
    assert methods() == inside
    gateway.uninstall()
    assert methods() == inside
    assert gateway.installed() is first
    gateway.uninstall()
    assert methods() == before
    assert gateway.installed() is None
    gateway.uninstall()
    assert methods() == before


def test_the_latest_settings_count() -> None:
    first, second = gateway.Capture(), gateway.Capture()
    with capturing():
        assert gateway.install(first) is first
        assert gateway.install(second) is second
        assert gateway.installed() is second
        gateway.uninstall()
        gateway.uninstall()


async def post(library: Any, **options: Any) -> Any:
    async with library.AsyncClient(**options) as client:
        return await client.post(URL, json=ASKED)


def post_blocking(library: Any, **options: Any) -> Any:
    with library.Client(**options) as client:
        return client.post(URL, json=ASKED)


@both
async def test_the_off_switch(library: Any) -> None:
    async with CountingServer() as server:
        with redirect({"api.openai.com": server.url}), MemoryRun().running() as run:
            with capturing():
                await post(library)
            await post(library)
    assert len(server.requests) == 2
    assert len(run.tickets) == 1


@pytest.mark.parametrize("patched", [False, True])
@pytest.mark.parametrize(
    ("library", "transport"),
    [(httpx2, gateway.AsyncTransport), (httpx, AsyncHTTPXTransport)],
    ids=["httpx2", "httpx"],
)
async def test_the_explicit_transport_captures_once(
    library: Any, transport: Callable[..., Any], patched: bool
) -> None:
    async with CountingServer() as server:
        with redirect({"api.openai.com": server.url}), MemoryRun().running() as run:
            if patched:
                gateway.install()
            await post(library, transport=transport())
            await post(library, transport=transport(library.AsyncHTTPTransport()))
            if patched:
                gateway.uninstall()
    assert [ticket.states for ticket in run.tickets] == [["done"], ["done"]]
    assert len(server.requests) == 2


@pytest.mark.parametrize("patched", [False, True])
@pytest.mark.parametrize(
    ("library", "transport"),
    [(httpx2, gateway.Transport), (httpx, HTTPXTransport)],
    ids=["httpx2", "httpx"],
)
async def test_the_explicit_synchronous_transport_captures_once(
    library: Any, transport: Callable[..., Any], patched: bool
) -> None:
    async with CountingServer() as server:
        with redirect({"api.openai.com": server.url}), MemoryRun().running() as run:
            if patched:
                gateway.install()
            await asyncio.to_thread(post_blocking, library, transport=transport())
            mine = transport(library.HTTPTransport())
            await asyncio.to_thread(post_blocking, library, transport=mine)
            if patched:
                gateway.uninstall()
    assert [ticket.states for ticket in run.tickets] == [["done"], ["done"]]
    assert len(server.requests) == 2


def tracing(library: Any, exporter: InMemorySpanExporter) -> AbstractContextManager[None]:
    instrumentor: Any = (
        HTTPX2ClientInstrumentor() if library is httpx2 else HTTPXClientInstrumentor()
    )
    processor: Any = SimpleSpanProcessor
    provider = TracerProvider()
    provider.add_span_processor(processor(exporter))

    @contextmanager
    def instrumented() -> Iterator[None]:
        instrumentor.instrument(tracer_provider=provider)
        try:
            yield
        finally:
            instrumentor.uninstrument()

    return instrumented()


@both
@pytest.mark.parametrize("capture_first", [True, False])
async def test_opentelemetry_sees_and_captured_it_is(library: Any, capture_first: bool) -> None:
    before = methods()
    exporter = InMemorySpanExporter()
    order: list[Callable[[], AbstractContextManager[None]]]
    order = [capturing, lambda: tracing(library, exporter)]
    if not capture_first:
        order.reverse()
    async with CountingServer() as server:
        with redirect({"api.openai.com": server.url}), MemoryRun().running() as run:
            with order[0](), order[1]():
                await post(library)
            assert len(run.tickets) == 1
            assert len(exporter.get_finished_spans()) == 1
            await post(library)
    assert len(run.tickets) == 1
    assert len(exporter.get_finished_spans()) == 1
    assert b"traceparent" in server.requests[0]
    assert methods() == before


@both
async def test_a_patch_under_opentelemetry_goes_blind_and_sees_again(library: Any) -> None:
    before = methods()
    exporter = InMemorySpanExporter()
    async with CountingServer() as server:
        with redirect({"api.openai.com": server.url}), MemoryRun().running() as run:
            gateway.install()
            with tracing(library, exporter):
                gateway.uninstall()
                await post(library)
                assert len(run.tickets) == 0
                with capturing():
                    await post(library)
                assert len(run.tickets) == 1
            assert len(exporter.get_finished_spans()) == 2
            await post(library)
            assert len(run.tickets) == 1
            with capturing():
                await post(library)
            assert len(run.tickets) == 2
    assert methods() == before


@pytest.mark.parametrize("capture_first", [True, False])
async def test_respx_answers_and_captured_it_is(capture_first: bool) -> None:
    """respx mocks the connection pools below the transport (httpx only)."""

    @contextmanager
    def mocked() -> Iterator[None]:
        with respx.mock as router:
            router.post(URL).respond(json={"mocked": True})
            yield

    run = MemoryRun()
    order = [capturing, mocked]
    if not capture_first:
        order.reverse()
    with order[0](), order[1](), run.running():
        answer = await post(httpx)
    assert answer.json() == {"mocked": True}
    assert [ticket.states for ticket in run.tickets] == [["done"]]
    with capturing(), run.again().running():
        assert (await post(httpx)).json() == {"mocked": True}


async def test_the_explicit_transport_takes_the_settings_of_the_patch() -> None:
    transport = gateway.AsyncTransport(httpx2.MockTransport(lambda _: httpx2.Response(200)))
    url = "http://my.host:8080/v1/responses"
    async with httpx2.AsyncClient(transport=transport) as client:
        with MemoryRun().running() as run:
            await client.post(url, json=ASKED)
            gateway.install(gateway.Capture(gateway.Providers({"my.host:8080": "openai"})))
            await client.post(url, json=ASKED)
            gateway.uninstall()
            await client.post(url, json=ASKED)
    # Without the setting it is a host that nobody knows.
    names = [ticket.name.partition("/")[0] for ticket in run.tickets]
    assert names == ["my.host:8080", "openai", "my.host:8080"]
