"""How many tokens a recorded answer took, read out of the answer itself: pure, a reader for each
wire format.

Providers count differently; here ``input`` is everything the model read, with what came from a
cache or was written to one, and ``output`` everything it wrote, with its thoughts. Where an answer
does not say (OpenAI's streams without ``include_usage``, opaque streams, errors) it is None: an
amount is never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from perdure.gateway.answer import Answer
from perdure.gateway.sse import SSEReader


class Usage(NamedTuple):
    """Tokens. ``cache_read`` and ``cache_write`` are parts of ``input``, ``cache_write_1h`` (kept
    for an hour) of ``cache_write``, ``reasoning`` of ``output``. ``searches``: the provider's own
    web searches, which it bills by number."""

    input: int
    output: int
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    searches: int = 0

    def plus(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(*(a + b for a, b in zip(self, other, strict=True)))


def usage(answer: Answer) -> Usage | None:
    """What ``answer`` took; None where it does not say."""
    return reading(answer)[0]


def reading(answer: Answer) -> tuple[Usage | None, Mapping[str, str]]:
    """What ``answer`` took, and the terms that its price depends on, where it names any that are
    not the ordinary ones: ``service_tier`` (OpenAI, Anthropic), ``speed`` (Anthropic), and
    ``modality`` where sound was among the tokens."""
    read = READERS.get(answer.format)
    if read is None or answer.status >= 400:
        return None, {}
    documents = _documents(answer)
    told = any(word in answer.body for word in _TELLING)
    return read(documents), _terms(documents) if told else {}


_TELLING = (b'"service_tier"', b'"speed"', b'"audio_tokens"')
_ORDINARY = ("", "default", "standard", "auto", "on_demand")


def _terms(documents: Iterable[Mapping[str, Any]]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for document in documents:
        for holder in (document, document.get("response"), document.get("message")):
            if not isinstance(holder, dict):
                continue
            part = holder.get("usage")
            for place in (holder, part):
                if isinstance(place, dict):
                    for name in ("service_tier", "speed"):
                        value = place.get(name)
                        if isinstance(value, str):
                            found[name] = value
            if isinstance(part, dict) and any(
                _count(part.get(name), "audio_tokens") for name in _DETAILS
            ):
                found["modality"] = "audio"
    return {name: value for name, value in found.items() if value not in _ORDINARY}


_DETAILS = (
    "prompt_tokens_details", "completion_tokens_details", "input_tokens_details",
    "output_tokens_details",
)  # fmt: skip


def _documents(answer: Answer) -> list[dict[str, Any]]:
    """The body's JSON objects: one, or those of a stream in their order."""
    body = answer.body
    content_type = next((v for k, v in answer.headers if k == "content-type"), "")
    texts: list[str | bytes] = [body]
    if content_type.partition(";")[0].strip().lower() == "text/event-stream":
        # A stream that was cut may lack the blank line after its last event.
        texts = [event.data for event in SSEReader().feed(body + b"\n\n")]
    found: list[Any] = []
    for text in texts:
        try:
            read = orjson.loads(text)
        except orjson.JSONDecodeError:
            continue
        # Gemini streams a JSON array where nobody asked for events.
        found += read if isinstance(read, list) else [read]
    if answer.usage is not None:
        found.append({"usage": answer.usage})
    return [item for item in found if isinstance(item, dict)]


def _anthropic(documents: Iterable[Mapping[str, Any]]) -> Usage | None:
    """docs.claude.com, "Messages": ``usage`` in the message; in a stream in ``message_start``, and
    in ``message_delta``, whose counts are cumulative."""
    merged: dict[str, Any] = {}
    for document in documents:
        for holder in (document.get("message"), document):
            part = holder.get("usage") if isinstance(holder, dict) else None
            if isinstance(part, dict):
                merged.update({k: v for k, v in part.items() if v is not None})
    if not merged:
        return None
    read = _count(merged, "cache_read_input_tokens")
    written = _count(merged, "cache_creation_input_tokens")
    return Usage(
        _count(merged, "input_tokens") + read + written,
        _count(merged, "output_tokens"),
        read,
        written,
        min(written, _count(merged.get("cache_creation"), "ephemeral_1h_input_tokens")),
        _count(merged.get("output_tokens_details"), "thinking_tokens"),
        _count(merged.get("server_tool_use"), "web_search_requests"),
    )


def _openai(documents: Iterable[Mapping[str, Any]]) -> Usage | None:
    """Chat completions, embeddings and responses name the same things differently; in a stream
    they are in the last event that has any. Groq puts them under ``x_groq``."""
    last: dict[str, Any] | None = None
    for document in documents:
        for holder in (document, document.get("response"), document.get("x_groq")):
            part = holder.get("usage") if isinstance(holder, dict) else None
            if isinstance(part, dict):
                last = part
    if last is None or not {"prompt_tokens", "input_tokens"} & last.keys():
        return None
    details = last.get("prompt_tokens_details") or last.get("input_tokens_details")
    whole = _count(last, "prompt_tokens") or _count(last, "input_tokens")
    output = _count(last, "completion_tokens") or _count(last, "output_tokens")
    thoughts = _count(
        last.get("completion_tokens_details") or last.get("output_tokens_details"),
        "reasoning_tokens",
    )
    # xAI's chat completions count thoughts beside the answer: its total says so.
    if thoughts and _count(last, "total_tokens") == whole + output + thoughts:
        output += thoughts
    return Usage(
        whole,
        output,
        _count(details, "cached_tokens"),
        _count(details, "cache_write_tokens"),
        reasoning=min(thoughts, output),
    )


def _google(documents: Iterable[Mapping[str, Any]]) -> Usage | None:
    """ai.google.dev, "UsageMetadata": cumulative, so the last one counts. Thoughts and the answer
    are counted apart."""
    last: dict[str, Any] | None = None
    for document in documents:
        part = document.get("usageMetadata")
        if isinstance(part, dict):
            last = part
    if last is None:
        return None
    return Usage(
        _count(last, "promptTokenCount") + _count(last, "toolUsePromptTokenCount"),
        _count(last, "candidatesTokenCount") + _count(last, "thoughtsTokenCount"),
        _count(last, "cachedContentTokenCount"),
        reasoning=_count(last, "thoughtsTokenCount"),
    )


def _bedrock(documents: Iterable[Mapping[str, Any]]) -> Usage | None:
    """Converse has names of its own; ``invoke`` answers in the model's format, of which Claude's
    is known here."""
    documents = list(documents)
    for document in documents:
        part = document.get("usage")
        if isinstance(part, dict) and "inputTokens" in part:
            read = _count(part, "cacheReadInputTokens")
            written = _count(part, "cacheWriteInputTokens")
            whole = _count(part, "inputTokens") + read + written
            return Usage(whole, _count(part, "outputTokens"), read, written)
    return _anthropic(documents)


def _cohere(documents: Iterable[Mapping[str, Any]]) -> Usage | None:
    """``usage`` (v2; in a stream in the last event's delta), ``meta`` (v1 and embeddings): tokens
    as counted, else as billed."""
    for document in documents:
        for holder in (document, document.get("delta")):
            if not isinstance(holder, dict):
                continue
            about = holder.get("usage") or holder.get("meta")
            if not isinstance(about, dict):
                continue
            part = about.get("tokens") or about.get("billed_units")
            if isinstance(part, dict) and "input_tokens" in part:
                return Usage(_count(part, "input_tokens"), _count(part, "output_tokens"))
    return None


def _count(part: object, name: str) -> int:
    value = part.get(name) if isinstance(part, dict) else None
    return int(value) if isinstance(value, int | float) and value > 0 else 0


READERS: Mapping[str, Callable[[Iterable[Mapping[str, Any]]], Usage | None]] = {
    "anthropic.messages": _anthropic,
    "vertex.claude": _anthropic,
    "bedrock": _bedrock,
    "cohere": _cohere,
    "google.generate": _google,
    "openai.chat": _openai,
    "openai.completions": _openai,
    "openai.embeddings": _openai,
    "openai.plain": _openai,
    "openai.responses": _openai,
}
