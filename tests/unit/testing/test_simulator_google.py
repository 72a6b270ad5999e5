"""Gemini's wire format; with the real SDK it is tested in tests/unit/gateway/test_gemini.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import orjson
import pytest

from perdure.testing.scripted import ScriptedProvider
from perdure.testing.simulator import Call, Fault, ProviderSimulator, Reply, Usage

PATH = "/v1beta/models/gemini-x"
ASKED: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Why tides?"}]}]}
CALLS: list[Call] = []


def brain(call: Call) -> Reply:
    CALLS.append(call)
    usage = Usage(10, 7, cache_read=4, reasoning=2)
    return Reply("The moon does it.", [("look", {"at": "sea"})], usage=usage, chunk=9)


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    CALLS.clear()
    with ProviderSimulator(brain) as sim, httpx2.Client(base_url=sim.url) as made:
        yield made


def ask(client: httpx2.Client, contents: list[Any], **body: Any) -> Any:
    return client.post(f"{PATH}:generateContent", json={"contents": contents, **body})


def events(client: httpx2.Client) -> list[Any]:
    answer = client.post(f"{PATH}:streamGenerateContent", params={"alt": "sse"}, json=ASKED)
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [orjson.loads(line[5:]) for line in answer.text.splitlines() if line]


def test_a_whole_answer(client: httpx2.Client) -> None:
    body = ask(client, ASKED["contents"]).json()
    [candidate] = body["candidates"]
    said, called = candidate["content"]["parts"]
    assert said == {"text": "The moon does it."}
    assert (called["functionCall"]["name"], called["functionCall"]["args"]) == (
        "look",
        {"at": "sea"},
    )
    assert candidate["finishReason"] == "STOP"
    assert body["modelVersion"] == "gemini-x"
    assert body["usageMetadata"]["candidatesTokenCount"] == 5
    assert body["usageMetadata"]["thoughtsTokenCount"] == 2
    assert body["usageMetadata"]["cachedContentTokenCount"] == 4
    assert body["usageMetadata"]["totalTokenCount"] == 17
    [call] = CALLS
    assert (call.format, call.model, call.stream, call.prompt) == (
        "google",
        "gemini-x",
        False,
        "Why tides?",
    )


def test_a_stream_ends_with_its_finish_reason(client: httpx2.Client) -> None:
    heard = [event["candidates"][0] for event in events(client)]
    parts = [part for one in heard for part in one["content"]["parts"]]
    assert [part["text"] for part in parts[:-1]] == ["The moon ", "does it."]
    assert parts[-1]["functionCall"]["name"] == "look"
    assert ["finishReason" in one for one in heard] == [False, False, True]
    assert CALLS[0].stream


def test_the_same_question_whole_and_streamed_is_paid_twice(client: httpx2.Client) -> None:
    ask(client, ASKED["contents"])
    events(client)
    assert CALLS[0].digest == CALLS[1].digest
    assert CALLS[1].occurrence == 2


@pytest.mark.parametrize("ident", [None, "call-7"])
def test_a_conversation_with_tools_is_read(ident: str | None, client: httpx2.Client) -> None:
    own = {"id": ident} if ident else {}
    contents = [
        *ASKED["contents"],
        {"role": "model", "parts": [{"text": "I "}, {"text": "Hm.", "thought": True}]},
        {"role": "model", "parts": [{"functionCall": {**own, "name": "look", "args": {"a": 1}}},
                                    {"functionCall": {"name": "look"}}]},
        {"role": "user", "parts": [
            {"functionResponse": {**own, "name": "look", "response": {"result": "water"}}},
            {"functionResponse": {"name": "look", "response": {"error": "no light"}}},
            {"text": "Well?"}, {"inlineData": {"mimeType": "image/png", "data": ""}},
        ]},
    ]  # fmt: skip
    declared = [{"name": "look", "parametersJsonSchema": {"type": "object"}}]
    answer = ask(
        client, contents, tools=[{"functionDeclarations": declared}],
        systemInstruction={"parts": [{"text": "Be short."}]},
    )  # fmt: skip
    assert answer.status_code == 200
    [call] = CALLS
    assert [message.role for message in call.messages] == ["user", "assistant", "tool", "user"]
    assert [(one.content, one.error) for one in call.results] == [
        ("water", False),
        ("no light", True),
    ]
    assert (call.turn, call.prompt, call.system) == (1, "Well?", "Be short.")
    assert call.tools[0].schema == {"type": "object"}


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ([], "contents is not specified"),
        ([{"role": "assistant", "parts": [{"text": "?"}]}], "valid role"),
        ([{"role": "user", "parts": []}], "parts is empty"),
        ([{"role": "model", "parts": [{"functionCall": {"name": "f"}}]}], "function response"),
        ([{"role": "user", "parts": [{"functionResponse": {"name": "f"}}]}], "function response"),
    ],
)
def test_what_google_refuses_is_refused(
    contents: list[Any], words: str, client: httpx2.Client
) -> None:
    answer = ask(client, contents)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert words in error["message"]


def test_vertex_has_longer_paths(client: httpx2.Client) -> None:
    path = "/v1/projects/p/locations/l/publishers/google/models/gemini-y:generateContent"
    assert client.post(path, json=ASKED).status_code == 200
    assert CALLS[0].model == "gemini-y"
    assert client.post("/v1beta/models/gemini-x:countTokens", json=ASKED).status_code == 404


def test_faults_are_in_its_own_words() -> None:
    faults = [Fault("429", times=1), Fault("error", after_chunks=1, times=1)]
    with ProviderSimulator(brain, faults) as sim, httpx2.Client(base_url=sim.url) as client:
        assert ask(client, ASKED["contents"]).json()["error"]["status"] == "RESOURCE_EXHAUSTED"
        heard = events(client)
    assert heard[-1]["error"]["status"] == "UNAVAILABLE"


def test_in_memory_too() -> None:
    model = ScriptedProvider(brain)
    with httpx2.Client(base_url="https://x", transport=model.sync_transport()) as client:
        assert ask(client, ASKED["contents"]).json()["modelVersion"] == "gemini-x"
        assert client.post("/v1beta/models/gemini-x:countTokens", json={}).status_code == 404
