"""OpenAI's APIs and those of the many providers that speak them: chat completions, responses,
embeddings, and the plain ones (legacy completions, images, audio, moderations)."""

from __future__ import annotations

import re
from typing import Any

from perdure.gateway.formats.base import CONTENT, END, PREAMBLE, Format, Sign, read_json
from perdure.gateway.sse import Event

# How an answer is billed, cached, filed or watched over, not what it is. The OpenAI Agents SDK
# makes ``prompt_cache_key`` random for each run. ``stream_options`` adds a count of tokens.
_NEUTRAL = frozenset(
    {
        "metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
        "safety_identifier", "service_tier", "store", "stream_options", "user",
    }
)  # fmt: skip
_ERROR_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 402: "insufficient_quota",
    403: "permission_error", 404: "not_found_error", 429: "rate_limit_error",
}  # fmt: skip
_AZURE = r"(?:/deployments/(?P<model>[^/]+))?"
_RESPONSES_OPENING = ("response.created", "response.in_progress", "response.queued")


def judge_chat(event: Event) -> Sign:
    """See ``Format.judge``."""
    if event.data.startswith("[DONE]"):
        return END
    data = read_json(event)
    if data.get("error"):
        error = data["error"]
        return Sign(begun=False, error=error if isinstance(error, dict) else {"message": error})
    begun, text, finished = False, "", False
    choices = data.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        delta = choice.get("delta")
        if isinstance(delta, dict):
            begun = begun or any(value for key, value in delta.items() if key != "role")
            if isinstance(delta.get("content"), str) and choice.get("index", 0) == 0:
                text += delta["content"]
        elif choice.get("text"):  # legacy completions
            begun, text = True, text + str(choice["text"])
        finished = finished or bool(choice.get("finish_reason"))
    # Not all who speak this send [DONE]; some send usage between the finish and it.
    return Sign(begun=begun or finished, text=text, may_end=finished)


def judge_responses(event: Event) -> Sign:
    """See ``Format.judge``."""
    if event.data.startswith("[DONE]"):
        return END
    data = read_json(event)
    kind = data.get("type") or event.name
    if kind in _RESPONSES_OPENING:
        return PREAMBLE
    if kind in ("response.completed", "response.incomplete", "response.cancelled"):
        return END
    if kind == "response.failed":
        response = data.get("response")
        error = response.get("error") if isinstance(response, dict) else None
        return Sign(begun=False, error=error if isinstance(error, dict) else {})
    if kind == "error":
        error = data.get("error")
        return Sign(begun=False, error=error if isinstance(error, dict) else data)
    if kind == "response.output_text.delta":
        return Sign(text=str(data.get("delta", "")))
    return CONTENT


def judge_plain(event: Event) -> Sign:
    """Of images, speech and transcriptions: events whose type ends in ``.done`` or
    ``.completed`` finish; every event counts."""
    if event.data.startswith("[DONE]"):
        return END
    data = read_json(event)
    kind = str(data.get("type") or event.name)
    if data.get("error") or kind == "error":
        error = data.get("error")
        return Sign(begun=False, error=error if isinstance(error, dict) else data)
    return Sign(may_end=kind.endswith((".done", ".completed")))


def error(status: int, words: str) -> dict[str, Any]:
    """An error body."""
    kind = _ERROR_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": words, "type": kind, "param": None, "code": None}}


CHAT = Format(
    "openai.chat",
    re.compile(_AZURE + r"/chat/completions$"),
    neutral=_NEUTRAL,
    own_parts=("tools",),
    lists=("messages",),
    judge=judge_chat,
    error=error,
)
RESPONSES = Format(
    "openai.responses",
    re.compile(r"/responses$"),
    neutral=_NEUTRAL,
    own_parts=("instructions", "tools"),
    lists=("input",),
    judge=judge_responses,
    error=error,
)
EMBEDDINGS = Format(
    "openai.embeddings", re.compile(_AZURE + r"/embeddings$"), neutral=_NEUTRAL, error=error
)
COMPLETIONS = Format(
    "openai.completions",
    re.compile(_AZURE + r"(?<!/chat)/completions$"),
    neutral=_NEUTRAL,
    judge=judge_chat,
    error=error,
)
PLAIN = Format(
    "openai.plain",
    re.compile(
        _AZURE + r"/(?P<op>images/(?:generations|edits|variations)"
        r"|audio/(?:speech|transcriptions|translations)|moderations)$"
    ),
    neutral=_NEUTRAL,
    judge=judge_plain,
    error=error,
)
OPENAI = (CHAT, RESPONSES, EMBEDDINGS, COMPLETIONS, PLAIN)
