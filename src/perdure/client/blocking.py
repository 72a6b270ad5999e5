"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from time import monotonic
from typing import Any, Self, TypeVar

import httpx2

from perdure.client import calls
from perdure.client.asking import Answer, Call, Lost, Pause, Retries, Steps
from perdure.client.events import Event
from perdure.client.following import Following
from perdure.client.settings import headers_of, url_of
from perdure.client.views import AgentView, RunView

T = TypeVar("T")


class Client:
    """Perdure from outside. It keeps connections, and may be used by several threads: use it as
    ``with``, or ``close`` it.

        with Client("http://127.0.0.1:8080") as client:
            print(client.run("greet", "Ada"))
            for event in client.stream("greet", "Bob"):
                print(event)
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: timedelta | float = 30.0,
        retries: Retries | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """``url`` is the server's, with the path that it is mounted at; ``api_key`` is for servers
        that have keys. Without them: ``PERDURE_URL`` (else http://127.0.0.1:8080) and
        ``PERDURE_API_KEY``. ``timeout`` is how long one answer may take, beside the time that the
        server was asked to wait. ``transport``: another way of sending, such as
        ``httpx2.ASGITransport``."""
        self._retries = retries or Retries()
        self._timeout = calls.seconds(timeout) or 30.0
        self._http = httpx2.Client(
            base_url=url_of(url), headers=headers_of(api_key), transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def start(
        self,
        agent: str,
        input: Any = None,
        *,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        deadline: timedelta | float | None = None,
        delay: timedelta | float | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> RunView:
        """Start a run and return at once. ``input`` is JSON values, pydantic models, dataclasses'
        dicts. ``deadline`` and ``delay`` are seconds or timedeltas. Without ``idempotency_key`` one
        is made, so that a request that is sent again never starts a second run. Raises NotFound,
        InvalidInput, IdempotencyMismatch, Backpressure, Unreachable."""
        return self._do(
            calls.start(
                self._retries, agent, input, labels=labels, priority=priority, deadline=deadline,
                delay=delay, idempotency_key=idempotency_key, traceparent=traceparent,
            )
        )  # fmt: skip

    def run(
        self,
        agent: str,
        input: Any = None,
        *,
        type: Any = None,
        timeout: timedelta | float | None = None,
        **more: Any,
    ) -> Any:
        """Start a run and wait for its result, read as ``type``. ``timeout`` is how long to wait
        (the run goes on after it); ``more`` is what :meth:`start` takes. Raises what ``start``
        raises, WaitOver, and RunFailed, RunDead, RunCancelled, RunTimeout or LoopGuard for a run
        that ends otherwise."""
        limit = calls.seconds(timeout)
        found = self._do(calls.run(self._retries, monotonic, agent, input, limit, **more))
        return found.result(type)

    def get(self, run: RunView | str) -> RunView:
        """The run as it is now. Raises NotFound."""
        return self._do(calls.get(self._retries, calls.id_of(run)))

    def wait(self, run: RunView | str, *, timeout: timedelta | float | None = None) -> RunView:
        """The run once it is final, however it ended; ``.result()`` is what it returned. Raises
        NotFound, WaitOver."""
        limit = calls.seconds(timeout)
        return self._do(calls.wait(self._retries, monotonic, calls.id_of(run), limit))

    def signal(
        self,
        run: RunView | str,
        name: str,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
    ) -> int:
        """Send a signal; returns its number among the run's. Raises NotFound, Conflict (final)."""
        return self._do(
            calls.signal(self._retries, calls.id_of(run), name, payload, idempotency_key)
        )

    def cancel(self, run: RunView | str, reason: str = "") -> RunView:
        """Cancel a run; a running one is asked to stop. Raises NotFound, Conflict."""
        return self._do(calls.cancel(self._retries, calls.id_of(run), reason))

    def resolve(
        self, run: RunView | str, value: Any = None, *, redo: bool = False, key: str | None = None
    ) -> RunView:
        """Answer an effect of which nobody knows whether it happened: it did, and returned
        ``value``; or ``redo`` it. ``key`` says which, where several are open. Raises NotFound,
        Conflict."""
        return self._do(calls.resolve(self._retries, calls.id_of(run), value, redo=redo, key=key))

    def redrive(self, run: RunView | str) -> RunView:
        """Let a failed or dead run go on from its journal, or a waiting one look again. Raises
        NotFound, Conflict."""
        return self._do(calls.redrive(self._retries, calls.id_of(run)))

    def dismiss(self, run: RunView | str) -> RunView:
        """Put a dead letter aside. Raises NotFound, Conflict."""
        return self._do(calls.dismiss(self._retries, calls.id_of(run)))

    def agents(self) -> list[AgentView]:
        """All agents, by name."""
        return self._do(calls.agents(self._retries))

    def limits(self) -> dict[str, Any]:
        """How full the providers' limits are, over all workers: what ``GET /api/limits`` says."""
        return self._do(calls.limits(self._retries))

    def costs(self, by: str | Sequence[str] = "model", **filters: Any) -> dict[str, Any]:
        """What model calls cost: what ``GET /api/costs`` says. ``by``: agent, model, day ...; one
        or several. ``filters``: since, until (datetimes with a zone), run, session, agent, step,
        feature, tenant, provider, model, credential, target, route, source, limit. Raises
        InvalidInput."""
        return self._do(calls.costs(self._retries, by, filters))

    def budgets(self) -> list[dict[str, Any]]:
        """What each budget has left: what ``GET /api/budgets`` says."""
        return self._do(calls.budgets(self._retries))

    def halts(self) -> list[dict[str, Any]]:
        """Which agents and tenants are halted: what ``GET /api/halts`` says."""
        return self._do(calls.halts(self._retries))

    def halt(
        self, *, agent: str | None = None, tenant: str | None = None, reason: str = ""
    ) -> dict[str, Any]:
        """Stop the model calls of an agent or for a tenant, on every worker within a second. Raises
        InvalidInput."""
        return self._do(calls.halt(self._retries, agent, tenant, reason))

    def lift(self, *, agent: str | None = None, tenant: str | None = None) -> dict[str, Any]:
        """Let them go out again. Raises NotFound where nothing is halted."""
        return self._do(calls.lift(self._retries, agent, tenant))

    def runs(self, **filters: Any) -> Iterator[RunView]:
        """Runs, newest first, without inputs and results; pages are read as they are needed.
        ``filters``: agent, state (one or a list), labels (a dict), tenant, session, parent,
        trace_id, idempotency_key, created_after, created_before (datetimes with a zone), limit (a
        page's size)."""
        page = calls.runs(filters)
        while page.more:
            yield from self._do(page.read(self._retries))

    def dead_letters(self, **filters: Any) -> Iterator[RunView]:
        """Dead runs that nobody has put aside; filters as of :meth:`runs`, but for state."""
        page = calls.dead_letters(filters)
        while page.more:
            yield from self._do(page.read(self._retries))

    def events(self, run: RunView | str, *, after: int = 0) -> Iterator[Event]:
        """The run's events from after this seq until it is final, each once and without gaps,
        through connections that break and servers that restart. Raises NotFound, Unreachable."""
        following = Following(calls.id_of(run), after, self._retries)
        while not following.ended:
            try:
                request = self._request(following.call())
                response = self._http.send(request, stream=True)
                try:
                    if response.status_code >= 400:
                        following.refused(_answer(response, response.read()))
                    elif following.opened(response.status_code):
                        for chunk in response.iter_bytes():
                            yield from following.feed(chunk)
                        following.closed()
                finally:
                    response.close()
            except httpx2.TransportError as error:
                following.dropped(error)
            if not following.ended:
                time.sleep(following.pause)

    def stream(self, agent: str, input: Any = None, **more: Any) -> Iterator[Event]:
        """Start a run (as :meth:`start`) and give out its events."""
        yield from self.events(self.start(agent, input, **more))

    # -- sending --------------------------------------------------------------------------------

    def _do(self, steps: Steps[T]) -> T:
        outcome: Answer | Lost | None = None
        while True:
            try:
                wanted = steps.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(wanted, Pause):
                time.sleep(wanted.seconds)
                outcome = None
            else:
                outcome = self._send(wanted)

    def _send(self, call: Call) -> Answer | Lost:
        try:
            response = self._http.send(self._request(call))
        except httpx2.TransportError as error:
            unsent = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
            return Lost(error, sent=not isinstance(error, unsent))
        return _answer(response, response.content)

    def _request(self, call: Call) -> httpx2.Request:
        headers = dict(call.headers)
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        return self._http.build_request(
            call.method, call.path, params=list(call.params) or None, content=call.body,
            headers=headers,
            timeout=httpx2.Timeout(self._timeout, read=self._timeout + call.patience),
        )  # fmt: skip


def _answer(response: httpx2.Response, body: bytes) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, body)
