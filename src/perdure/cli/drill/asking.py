"""Calls a target of a route as an agent would: by the same limits, budgets and ledger, where its
rows have the feature ``drill``; but no other target answers for it, and nothing is tried twice.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2
import orjson

from perdure.assembly import gated, open_blobs
from perdure.config import Config
from perdure.config.credentials import KeyConfig
from perdure.core.charge import Charge
from perdure.core.ports import About
from perdure.core.retry import RetryPolicy
from perdure.core.routing import Route, Target
from perdure.errors import ConfigError, NotFound, UsageError
from perdure.gateway.capture import Capture
from perdure.gateway.credentials import header
from perdure.gateway.formats import Format
from perdure.gateway.formats.anthropic import MESSAGES
from perdure.gateway.formats.openai import CHAT, RESPONSES
from perdure.gateway.gate import Gate
from perdure.gateway.httpx2_transport import library
from perdure.gateway.outgoing import Outgoing
from perdure.gateway.providers import Providers
from perdure.gateway.request import SHAPES
from perdure.gateway.retries import RetrySettings
from perdure.gateway.transport.lines import AsyncLine
from perdure.gateway.trip import Call
from perdure.runtime.outside import Outside, Patience, outliving
from perdure.runtime.runtime import Runtime
from perdure.server.proxy.upstreams import Upstreams
from perdure.store import Store

FEATURE = "drill"
FORMATS = {"anthropic": MESSAGES, "chat": CHAT, "responses": RESPONSES}
ONCE = RetrySettings(policy=RetryPolicy(attempts=1), total=timedelta(minutes=5))
WAIT_S = 120.0  # for room in a limit
MAX_TOKENS = 1024  # of a question that does not say, where the API wants it said
VERSION = "2023-06-01"  # of Anthropic's API; the only one there is
_VARIABLES = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}


class Said(NamedTuple):
    """An answer's text; or ``problem``, why there is none. ``rows`` are the ledger's."""

    text: str
    problem: str
    rows: tuple[Charge, ...]


class Way(NamedTuple):
    """How a route's models are asked."""

    wire: Format
    model: str


def way(route: Route, format: str | None, model: str | None) -> Way:
    """What is to be said of neither the route nor the command. Raises UsageError."""
    exact = (name for name in route.model if not set(name) & set("*?["))
    model = model or next(exact, "") or next((t.model for t in route.targets if t.model), "")
    if not model:
        raise UsageError(
            f"The route {route.name!r} names no model, only patterns.",
            hint="Say which one to ask for: --model NAME",
        )
    if format is None:
        provider = route.targets[0].provider
        claude = provider == "anthropic" or (not provider and model.startswith("claude"))
        format = "anthropic" if claude else "chat"
    return Way(FORMATS[format], model)


class Asking:
    """Asks one target. Use :func:`asking`."""

    def __init__(
        self, config: Config, gate: Gate, runtime: Runtime, target: Target, how: Way
    ) -> None:
        self._gate = gate
        self._capture = Capture(Providers(config.gateway.providers), ONCE)
        self._capture.trips = gate
        self._runtime = runtime
        self._target = target
        self._how = how
        self._silence = config.gateway.silence
        self._transport = httpx2.AsyncHTTPTransport()
        self._tasks: set[asyncio.Task[None]] = set()
        self._provider = target.provider or ("anthropic" if how.wire is MESSAGES else "openai")
        self._url, self._headers = self._place(config)

    def _place(self, config: Config) -> tuple[str, dict[str, str]]:
        """Where it goes, and with which credential, where the target does not say so itself."""
        target, wire = self._target, self._how.wire
        operation = SHAPES[wire.name].operation
        path = operation if operation.startswith("/v1/") else f"/v1{operation}"
        upstreams = Upstreams(config)
        headers = {"content-type": "application/json"}
        if wire is MESSAGES:
            headers["anthropic-version"] = VERSION
        try:
            asked = upstreams.find(f"/{self._provider}{path}")
        except NotFound:
            if not target.base_url:
                raise ConfigError(
                    f"Where the target {target.name!r} is, is not known here: agents' SDKs know.",
                    hint=f"Give it a base_url, or set proxy.upstreams.{self._provider}.",
                ) from None
            return target.base_url.rstrip("/") + path, headers
        if not target.key:
            found = upstreams.credential(asked.upstream, wire)
            if found is None and (variable := _VARIABLES.get(self._provider)):
                secret = KeyConfig(self._provider, env=variable).read()
                found = header(self._provider, wire.name, secret)
            if found is not None:
                headers[found[0]] = found[1]
        return asked.upstream.url(asked.path), headers

    async def ask(self, fields: dict[str, Any]) -> Said:
        """Ask it. Raises nothing that a target could cause."""
        rows: list[Charge] = []

        def spend(charge: Charge) -> None:
            rows.append(charge)
            self._runtime.recorder.charge(charge)

        parts = urlsplit(self._url)
        body = orjson.dumps(request(fields, self._how))
        call = Call(self._provider, self._how.wire, parts.netloc, parts.path, self._headers, body)
        # A target that says nothing for as long as this would be left for the next one.
        deadline = await self._runtime.store.now() + self._silence
        about = About(agent=FEATURE, feature=FEATURE, step=self._target.name, deadline=deadline)
        patience = Patience(WAIT_S, self._gate.now)
        boundary = Outside(about, patience, self._keep, spend)
        line = AsyncLine(
            library, self._capture, boundary, lambda outgoing: self._send(call, outgoing)
        )
        served = await self._capture.perform(call, line)
        answer = served.answer
        if answer.status >= 400:
            words = answer.body.decode("utf-8", "replace")
            return Said("", f"HTTP {answer.status}: {words[:300]}", tuple(rows))
        return Said(text(self._how.wire, answer.body), "", tuple(rows))

    async def _send(self, call: Call, outgoing: Outgoing | None) -> httpx2.Response:
        url, body, silence = self._url, call.body, self._silence.total_seconds()
        headers: Any = call.headers
        if outgoing is not None:
            url = outgoing.url or url
            headers = outgoing.headers_over(call.headers)
            body = body if outgoing.body is None else outgoing.body
            silence = silence if outgoing.silence is None else min(silence, outgoing.silence)
        times = dict.fromkeys(("connect", "read", "write", "pool"), silence)
        request = httpx2.Request(
            "POST", url, headers=headers, content=body, extensions={"timeout": times}
        )
        return await self._transport.handle_async_request(request)

    async def close(self) -> None:
        """Let its connections go."""
        await self._transport.aclose()

    def _keep(self, what: Coroutine[Any, Any, None]) -> Awaitable[None]:
        return outliving(what, self._tasks)


@asynccontextmanager
async def asking(
    config: Config, store: Store, route: Route, target: Target, how: Way
) -> AsyncIterator[Asking]:
    """Whoever asks ``target`` and no other of the route. Raises ConfigError, MissingExtra."""
    alone = Route(
        name=route.name, targets=(replace(target, weight=0),), break_after=route.break_after,
        open_for=route.open_for,
    )  # fmt: skip
    config = replace(config, routes=(alone,))
    # Each has a name of its own among the workers, as limits are counted by them.
    name = f"drill-{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
    runtime = Runtime(store, open_blobs(config), name)
    async with gated(config, runtime, ONCE) as gate:
        asker = Asking(config, gate, runtime, target, how)
        try:
            yield asker
        finally:
            await asker.close()
            await runtime.end()


def request(fields: dict[str, Any], how: Way) -> dict[str, Any]:
    """A question as this API wants it."""
    fields = {"model": how.model, **fields}
    if how.wire is RESPONSES:
        if "messages" in fields:
            fields["input"] = fields.pop("messages")
        return fields
    asked = fields.pop("input", None)
    if "messages" not in fields:
        messages = asked if isinstance(asked, list) else [{"role": "user", "content": str(asked)}]
        fields["messages"] = messages
    if how.wire is MESSAGES:
        fields.setdefault("max_tokens", MAX_TOKENS)
    elif (system := fields.pop("system", None)) is not None:
        fields["messages"] = [{"role": "system", "content": system}, *fields["messages"]]
    return fields


def text(wire: Format, body: bytes) -> str:
    """The words of a whole answer; "" where there are none."""
    try:
        document = orjson.loads(body)
        if wire is MESSAGES:
            blocks = document["content"]
        elif wire is CHAT:
            return document["choices"][0]["message"]["content"] or ""
        else:
            items = [item for item in document["output"] if item.get("type") == "message"]
            blocks = [block for item in items for block in item["content"]]
        return "".join(block["text"] for block in blocks if isinstance(block.get("text"), str))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return ""
