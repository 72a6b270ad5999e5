"""What the response cache takes for equal, and what it keeps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest

from perdure.config import AgentConfig
from perdure.core.ports import About
from perdure.errors import StoreUnavailable
from perdure.gateway.answer import Answer, Breach
from perdure.gateway.cache import LARGEST, Cache, Place
from perdure.gateway.formats import Question
from perdure.gateway.request import Request

HEADERS = (("content-type", "application/json"),)
WHOLE = Answer(200, HEADERS, b'{"id":"1"}', format="openai.chat")


class Kept:
    """Keeps answers, or is away."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.ttls: list[timedelta] = []
        self.away = False

    async def remember(self, key: bytes, value: bytes, ttl: timedelta) -> None:
        if self.away:
            raise StoreUnavailable("away")
        self.values[key] = value
        self.ttls.append(ttl)

    async def recall(self, key: bytes) -> bytes | None:
        if self.away:
            raise StoreUnavailable("away")
        return self.values.get(key)


@pytest.fixture
def kept() -> Kept:
    return Kept()


def cache(kept: Kept, **policy: Any) -> Cache:
    one = AgentConfig(cache="exact", **policy)
    return Cache({"a": one, "b": one, "plain": AgentConfig()}, kept)


def place(
    cache: Cache, *, digest: bytes = b"q", name: str = "openai/gpt-5", streamed: bool = False,
    format: str = "openai.chat", fields: dict[str, Any] | None = None, **about: Any,
) -> Place | None:  # fmt: skip
    request = Request(format, orjson.dumps(fields or {}), "gpt-5", streamed=False)
    asked = Question(name, digest, (), streamed)
    return cache.place(asked, request, About(**{"agent": "a", "run_id": None, **about}))


def there(found: Place | None) -> Place:
    assert found is not None
    return found


async def keep(cache: Cache, answer: Answer = WHOLE, **asked: Any) -> None:
    there(place(cache, **asked)).keep(answer)
    await cache.close()


async def test_an_equal_question_has_its_answer(kept: Kept) -> None:
    one = cache(kept, cache_ttl=timedelta(minutes=5))
    await keep(one)
    assert await there(place(one)).find() == WHOLE
    assert kept.ttls == [timedelta(minutes=5)]


@pytest.mark.parametrize("other", [{"digest": b"r"}, {"name": "azure/gpt-5"}, {"streamed": True}])
async def test_another_question_has_none(kept: Kept, other: dict[str, Any]) -> None:
    one = cache(kept)
    await keep(one)
    assert await there(place(one, **other)).find() is None


@pytest.mark.parametrize(
    ("scope", "agent", "tenant", "shared"),
    [
        ("agent", "a", "t", True),
        ("agent", "b", "t", False),
        ("agent", "a", "u", False),
        ("tenant", "b", "t", True),
        ("tenant", "a", "u", False),
        ("all", "b", "u", True),
    ],
)
async def test_whose_calls_share_answers(
    kept: Kept, scope: str, agent: str, tenant: str, shared: bool
) -> None:
    one = cache(kept, cache_scope=scope)
    await keep(one, agent="a", tenant="t")
    found = await there(place(one, agent=agent, tenant=tenant)).find()
    assert (found is not None) is shared


def test_only_agents_that_want_it(kept: Kept) -> None:
    assert place(cache(kept), agent="plain") is None
    assert place(cache(kept), agent="unknown") is None


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"background": True},
        {"container": "c"},
        {"mcp_servers": [{"url": "https://mcp.example"}]},
        {"web_search_options": {"search_context_size": "low"}},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"tools": [{"type": "function", "name": "f"}, {"type": "code_interpreter"}]},
    ],
)
def test_what_is_more_than_words_is_never_kept(kept: Kept, fields: dict[str, Any]) -> None:
    assert place(cache(kept), fields=fields) is None


@pytest.mark.parametrize(
    "fields",
    [{"background": False}, {"tools": [{"type": "function", "name": "f"}, {"name": "g"}]}],
)
def test_the_callers_own_tools_are_words(kept: Kept, fields: dict[str, Any]) -> None:
    assert place(cache(kept), fields=fields) is not None


def test_unknown_formats_pass(kept: Kept) -> None:
    assert place(cache(kept), format="google.generate") is None


async def test_a_run_that_asks_again_wants_another_answer(kept: Kept) -> None:
    one = cache(kept)
    await keep(one)
    assert await there(place(one, run_id="r1")).find() == WHOLE
    assert await there(place(one, run_id="r1")).find() is None
    assert await there(place(one, run_id="r2")).find() == WHOLE
    one.replayed(Question("openai/gpt-5", b"q", (), False), About("r3", "a"))
    assert await there(place(one, run_id="r3")).find() is None


async def test_one_call_looks_once(kept: Kept) -> None:
    one = cache(kept)
    looking = there(place(one))
    assert await looking.find() is None
    await keep(one)
    assert await looking.find() is None


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500, HEADERS, b"{}", format="openai.chat"),
        Answer(200, HEADERS, b"{}", breach=Breach("ReadError", "cut"), format="openai.chat"),
        Answer(200, HEADERS, b"x" * (LARGEST + 1), format="openai.chat"),
    ],
)
async def test_what_is_not_kept(kept: Kept, answer: Answer) -> None:
    await keep(cache(kept), answer)
    assert kept.values == {}


async def test_a_store_that_is_away_has_no_answers(kept: Kept) -> None:
    one = cache(kept)
    await keep(one)
    kept.away = True
    assert await there(place(one)).find() is None
    await keep(one)
    kept.away = False
    assert await there(place(one)).find() == WHOLE


async def test_nobody_waits_for_its_being_kept(kept: Kept) -> None:
    one = cache(kept)
    there(place(one)).keep(WHOLE)
    assert kept.values == {}
    await one.close()
    assert len(kept.values) == 1
