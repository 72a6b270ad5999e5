"""What can be asked of a server, as calls and pauses: pure but for the random names of starts.

Starts and signals carry an idempotency key, made here where none is given, so that asking again
after a lost answer never starts a second run and never sends a second signal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import orjson

from perdure import codec
from perdure.client.asking import Answer, Call, Retries, Steps, asking
from perdure.client.views import AgentView, RunView, agent_view, run_view
from perdure.errors import InvalidInput, UsageError, WaitOver

CHUNK = 30.0  # seconds that one request waits; proxies cut longer silences


def _path(*parts: str) -> str:
    return "/api/" + "/".join(quote(part, safe="") for part in parts)


def id_of(run: RunView | str) -> str:
    return run if isinstance(run, str) else run.id


def seconds(duration: timedelta | float | None) -> float | None:
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def start(
    retries: Retries,
    agent: str,
    value: Any,
    *,
    labels: Mapping[str, str] | None = None,
    priority: int | None = None,
    deadline: timedelta | float | None = None,
    delay: timedelta | float | None = None,
    idempotency_key: str | None = None,
    traceparent: str | None = None,
    patience: float = 0.0,
) -> Steps[RunView]:
    """The run, as it was when ``patience`` seconds were over."""
    body: dict[str, Any] = {"input": orjson.Fragment(codec.encode(value, what="input"))}
    if labels:
        body["labels"] = dict(labels)
    if priority is not None:
        body["priority"] = priority
    if deadline is not None:
        body["timeout"] = seconds(deadline)
    if delay is not None:
        body["delay"] = seconds(delay)
    headers = {"Idempotency-Key": idempotency_key or f"client-{uuid4()}"}
    if traceparent is not None:
        headers["traceparent"] = traceparent
    call = Call(
        "POST", _path("agents", agent, "runs"), (("wait", f"{patience:g}"),), orjson.dumps(body),
        headers, patience,
    )  # fmt: skip
    try:
        answer = yield from asking(call, retries)
    except InvalidInput as error:
        # Runs that are not stored cannot be recognised again: asked once, without a key.
        if idempotency_key is not None or error.detail.get("durability") != "none":
            raise
        del headers["Idempotency-Key"]
        plain = Call(call.method, call.path, call.params, call.body, headers, 3600.0, False)
        answer = yield from asking(plain, retries)
    return run_view(orjson.loads(answer.body))


def run(
    retries: Retries, now: Callable[[], float], agent: str, value: Any, timeout: float | None,
    **more: Any,
) -> Steps[RunView]:  # fmt: skip
    """Start a run and wait for its end."""
    until = None if timeout is None else now() + timeout
    first = CHUNK if timeout is None else min(timeout, CHUNK)
    started = yield from start(retries, agent, value, patience=first, **more)
    if started.final:
        return started
    left = None if until is None else max(until - now(), 0.0)
    return (yield from wait(retries, now, started.id, left))


def wait(
    retries: Retries, now: Callable[[], float], run_id: str, timeout: float | None
) -> Steps[RunView]:
    """The run, once it is final. Raises WaitOver after ``timeout`` seconds."""
    until = None if timeout is None else now() + timeout
    while True:
        left = CHUNK if until is None else min(max(until - now(), 0.0), CHUNK)
        params = (("wait", f"{left:g}"),)
        answer = yield from asking(
            Call("GET", _path("runs", run_id), params, patience=left), retries
        )
        found = run_view(orjson.loads(answer.body))
        if found.final:
            return found
        if until is not None and now() >= until:
            raise WaitOver(
                f"Run {run_id} {found.state.says} after {timeout:g} s.",
                hint="It goes on: wait for it again, by its id.",
                run=run_id,
            )


def get(retries: Retries, run_id: str) -> Steps[RunView]:
    answer = yield from asking(Call("GET", _path("runs", run_id)), retries)
    return run_view(orjson.loads(answer.body))


def signal(
    retries: Retries, run_id: str, name: str, payload: Any, idempotency_key: str | None
) -> Steps[int]:
    """The signal's number."""
    headers = {"Idempotency-Key": idempotency_key or f"client-{uuid4()}"}
    body = codec.encode(payload, what="payload")
    call = Call("POST", _path("runs", run_id, "signals", name), body=body, headers=headers)
    answer = yield from asking(call, retries)
    return int(orjson.loads(answer.body)["n"])


def cancel(retries: Retries, run_id: str, reason: str) -> Steps[RunView]:
    return change(retries, _path("runs", run_id, "cancel"), {"reason": reason}, repeatable=True)


def resolve(
    retries: Retries, run_id: str, value: Any, *, redo: bool, key: str | None
) -> Steps[RunView]:
    body: dict[str, Any] = {"answer": "redo" if redo else "done"}
    if not redo:
        body["value"] = orjson.Fragment(codec.encode(value, what="value"))
    if key is not None:
        body["key"] = key
    return change(retries, _path("runs", run_id, "resolve"), body)


def redrive(retries: Retries, run_id: str) -> Steps[RunView]:
    return change(retries, _path("runs", run_id, "redrive"), None)


def dismiss(retries: Retries, run_id: str) -> Steps[RunView]:
    return change(retries, _path("dead-letters", run_id, "dismiss"), None, repeatable=True)


def change(
    retries: Retries, path: str, body: dict[str, Any] | None, *, repeatable: bool = False
) -> Steps[RunView]:
    """The run after something was done to it."""
    data = None if body is None else orjson.dumps(body)
    answer = yield from asking(Call("POST", path, body=data, repeatable=repeatable), retries)
    return run_view(orjson.loads(answer.body))


def agents(retries: Retries) -> Steps[list[AgentView]]:
    answer = yield from asking(Call("GET", _path("agents")), retries)
    return [agent_view(one) for one in orjson.loads(answer.body)["agents"]]


def limits(retries: Retries) -> Steps[dict[str, Any]]:
    answer = yield from asking(Call("GET", _path("limits")), retries)
    found: dict[str, Any] = orjson.loads(answer.body)
    return found


def costs(
    retries: Retries, by: str | Iterable[str], filters: Mapping[str, Any]
) -> Steps[dict[str, Any]]:
    names = by if isinstance(by, str) else ",".join(by)
    return read(retries, "costs", [("by", names), *query(filters)])


def budgets(retries: Retries) -> Steps[list[dict[str, Any]]]:
    found = yield from read(retries, "budgets")
    return list(found["budgets"])


def halts(retries: Retries) -> Steps[list[dict[str, Any]]]:
    found = yield from read(retries, "halts")
    return list(found["halts"])


def halt(
    retries: Retries, agent: str | None, tenant: str | None, reason: str
) -> Steps[dict[str, Any]]:
    kind, name = _halted(agent, tenant)
    body = orjson.dumps({"kind": kind, "name": name, "reason": reason})
    call = Call("POST", _path("halts"), body=body, repeatable=True)
    answer = yield from asking(call, retries)
    found: dict[str, Any] = orjson.loads(answer.body)
    return found


def lift(retries: Retries, agent: str | None, tenant: str | None) -> Steps[dict[str, Any]]:
    kind, name = _halted(agent, tenant)
    call = Call("DELETE", _path("halts"), (("kind", kind), ("name", name)))
    answer = yield from asking(call, retries)
    found: dict[str, Any] = orjson.loads(answer.body)
    return found


def _halted(agent: str | None, tenant: str | None) -> tuple[str, str]:
    if (agent is None) == (tenant is None):
        raise UsageError("Say which agent, or which tenant: one of the two.")
    return ("agent", agent) if agent is not None else ("tenant", tenant or "")


def read(
    retries: Retries, what: str, params: Iterable[tuple[str, str]] = ()
) -> Steps[dict[str, Any]]:
    """A document of the gateway's."""
    answer = yield from asking(Call("GET", _path(what), tuple(params)), retries)
    found: dict[str, Any] = orjson.loads(answer.body)
    return found


class Page:
    """A listing, read page by page: ``first`` is its query, ``next`` the following one's."""

    def __init__(self, path: str, member: str, query: Iterable[tuple[str, str]]) -> None:
        self._path, self._member = path, member
        self._query = tuple(query)
        self._cursor: str | None = None
        self.more = True

    def read(self, retries: Retries) -> Steps[list[RunView]]:
        """The runs of the next page."""
        cursor = () if self._cursor is None else (("cursor", self._cursor),)
        answer: Answer = yield from asking(
            Call("GET", self._path, (*self._query, *cursor)), retries
        )
        document = orjson.loads(answer.body)
        self._cursor = document.get("next")
        self.more = self._cursor is not None
        return [run_view(one) for one in document[self._member]]


def runs(filters: Mapping[str, Any]) -> Page:
    return Page(_path("runs"), "runs", query(filters))


def dead_letters(filters: Mapping[str, Any]) -> Page:
    return Page(_path("dead-letters"), "dead_letters", query(filters))


def query(filters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Filters as parameters: a list is several, ``labels`` a mapping, times are RFC 3339."""
    pairs: list[tuple[str, str]] = []
    for name, value in filters.items():
        if name == "labels":
            pairs += [("label", f"{key}:{text}") for key, text in (value or {}).items()]
        elif isinstance(value, datetime):
            pairs.append((name, value.isoformat()))
        elif isinstance(value, list | tuple | set | frozenset):
            pairs += [(name, str(one)) for one in value]
        elif value is not None:
            pairs.append((name, str(value)))
    return pairs
