"""The response cache: a call equal to one that was answered before gets that answer again.

Opt-in for each agent. What is equal: the question's digest, which is what shapes the answer (the
wire format, whether it streams, every field that is not neutral), under one provider and model,
within the agent's scope. Never kept are errors, broken streams, answers that do not say what they
took or that a budget cut short, those of a fallback model, and answers that are more than words:
of calls whose tools the provider itself runs, or that go on from state that it keeps.

A run that asks the same again wants another answer (a second opinion, or the first could not be
parsed): it goes out, and its answer takes the first one's place for those who ask later.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from datetime import timedelta
from hashlib import blake2b
from typing import Any

from perdure.config import AgentConfig
from perdure.core.ports import About, Answers
from perdure.errors import PerdureError, StoreUnavailable
from perdure.gateway.answer import Answer
from perdure.gateway.formats import Question
from perdure.gateway.request import Request

log = logging.getLogger("perdure.gateway")

LARGEST = 4 * 1024 * 1024  # bytes of an answer: larger ones are not kept
ASKED = 20_000  # questions of runs that are remembered

# Fields by which a request goes on from what the provider keeps, or lets it act for itself.
_MORE_THAN_WORDS = (
    "background", "container", "conversation", "mcp_servers", "previous_response_id",
    "web_search_options",
)  # fmt: skip
# Kinds of tools that the caller runs; all others may be the provider's. Anthropic's own need no
# kind.
_CALLERS = frozenset({None, "custom", "function"})


class Place:
    """Where the answer to one question is looked for, once, and kept."""

    __slots__ = ("_cache", "_key", "_looked", "_name", "_own", "_streamed", "_ttl")

    def __init__(
        self,
        cache: Cache,
        key: bytes,
        own: tuple[str, bytes] | None,
        name: str,
        ttl: timedelta,
        *,
        streamed: bool,
    ) -> None:
        self._cache = cache
        self._key = key
        self._own = own  # the run, and the question
        self._name = name  # of the wire format
        self._ttl = ttl
        self._streamed = streamed
        self._looked = False

    async def find(self) -> Answer | None:
        """The answer, where there is one. A store that is away has none."""
        if self._looked:
            return None
        self._looked = True
        if self._own is not None and not self._cache.first(self._own):
            return None
        try:
            value = await self._cache.answers.recall(self._key)
        except StoreUnavailable:
            return None
        if value is None:
            return None
        answer = Answer.decode(value)
        # The key says so already; an answer that cannot be read is worse than none.
        fits = answer.format == self._name and answer.streamed == self._streamed
        return answer if fits else None

    def keep(self, answer: Answer) -> None:
        """For those who ask the same later. Nobody waits."""
        if answer.status == 200 and answer.breach is None and len(answer.body) <= LARGEST:
            self._cache.keep(self._key, answer.encode(), self._ttl)


class Cache:
    """Of one worker and its event loop."""

    def __init__(self, agents: Mapping[str, AgentConfig], answers: Answers) -> None:
        self._agents = {name: one for name, one in agents.items() if one.cache == "exact"}
        self.answers = answers
        self._asked: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def place(self, asked: Question, request: Request, about: About) -> Place | None:
        """Where the answer to a question may be; None: its agent wants none, or what it asks for
        is more than words."""
        policy = self._agents.get(about.agent)
        if policy is None or request.shape is None or not _words(request.fields):
            return None
        whose = {
            "agent": ("agent", about.tenant, about.agent),
            "tenant": ("tenant", about.tenant),
        }.get(policy.cache_scope, ("all",))
        parts = [part.encode() for part in (*whose, asked.name)] + [asked.digest]
        told = b"".join(b"%d:%b" % (len(part), part) for part in parts)
        key = blake2b(told, digest_size=32, person=b"perdure answer").digest()
        own = (about.run_id, asked.digest) if about.run_id is not None else None
        return Place(
            self, key, own, request.format, policy.cache_ttl, streamed=asked.streamed
        )  # fmt: skip

    def replayed(self, asked: Question, about: About) -> None:
        """A run has the answer in its journal."""
        if about.run_id is not None and about.agent in self._agents:
            self.first((about.run_id, asked.digest))

    def first(self, own: tuple[str, bytes]) -> bool:
        """Whether a run asks that for the first time, as far as this worker knows."""
        if own in self._asked:
            self._asked.move_to_end(own)
            return False
        self._asked[own] = None
        if len(self._asked) > ASKED:
            self._asked.popitem(last=False)
        return True

    def keep(self, key: bytes, value: bytes, ttl: timedelta) -> None:
        """Write it soon."""
        task = asyncio.get_running_loop().create_task(self._write(key, value, ttl))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Write what is still to be written."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _write(self, key: bytes, value: bytes, ttl: timedelta) -> None:
        try:
            await self.answers.remember(key, value, ttl)
        except PerdureError as error:
            log.warning("An answer was not kept for who asks the same: %s", error)


def _words(fields: Mapping[str, Any]) -> bool:
    """Whether an answer to such a request is nothing but what the model says."""
    if any(fields.get(name) for name in _MORE_THAN_WORDS):
        return False
    tools = fields.get("tools")
    return all(
        not isinstance(tool, dict) or tool.get("type") in _CALLERS
        for tool in (tools if isinstance(tools, list) else ())
    )
