"""What OpenAI's two APIs share: error bodies, request ids, rate-limit headers, part texts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from perdure.testing.simulator.quota.turnstile import Level, Limited
from perdure.testing.simulator.tokens import ident
from perdure.testing.simulator.wire.base import WireError

__all__ = ["OVERLOADED", "OpenAIErrors", "arguments", "text_of"]

OVERLOADED = 503
# Status -> type, code and usual message. Source: platform.openai.com, "Error codes".
_ERRORS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request is invalid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", None, "You are not allowed to use this resource."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    500: ("server_error", None, "The server had an error while processing your request."),
    503: ("server_error", None, "The server is overloaded. Please try again later."),
    529: ("server_error", None, "The server is overloaded. Please try again later."),
}


class OpenAIErrors:
    """The half of ``Wire`` that both APIs have in common."""

    overloaded = OVERLOADED

    def told(self, path: str) -> Mapping[str, Any]:
        """See ``Wire``."""
        return {}

    def error(self, error: WireError, request_id: str) -> dict[str, Any]:
        """See ``Wire``."""
        usual = ("server_error", None, f"HTTP {error.http_status}")
        kind, code, words = _ERRORS.get(error.http_status, usual)
        if error.type is not None:
            # A type of one's own ("insufficient_quota") is its code too, as with OpenAI.
            kind = code = error.type
        code = error.error_code or code
        message = error.words or words
        return {"error": {"message": message, "type": kind, "param": error.param, "code": code}}

    def ids(self, digest: str, occurrence: int) -> dict[str, str]:
        """See ``Wire``."""
        return {"x-request-id": ident("req_", digest, occurrence)}

    def exhausted(self, retry_after: float, now: float) -> dict[str, str]:
        """See ``Wire``. Resets are durations such as ``6m0s``."""
        headers = {}
        for meter, limit in (("requests", 500), ("tokens", 200000)):
            headers[f"x-ratelimit-limit-{meter}"] = str(limit)
            headers[f"x-ratelimit-remaining-{meter}"] = "0"
            headers[f"x-ratelimit-reset-{meter}"] = _duration(retry_after)
        return headers

    def levels(self, levels: Mapping[str, Level], now: float) -> dict[str, str]:
        """See ``Wire``. Source: platform.openai.com, "Rate limits in headers"."""
        headers = {}
        for what in ("requests", "tokens"):
            level = levels.get(what)
            if level is not None:
                headers[f"x-ratelimit-limit-{what}"] = f"{level.amount:.0f}"
                headers[f"x-ratelimit-remaining-{what}"] = str(int(level.remaining))
                headers[f"x-ratelimit-reset-{what}"] = _duration(
                    math.ceil(level.full_in * 1e3) / 1e3
                )
        return headers

    def limited(self, limited: Limited, model: str) -> WireError:
        """See ``Wire``."""
        limit, what = limited.limit, limited.limit.what
        kind = "requests" if what in ("requests", "concurrent") else "tokens"
        span = {60.0: "per min", 86400.0: "per day"}.get(limit.per, f"per {limit.per:g}s")
        meter = f"{what if what in ('requests', 'tokens') else f'{what} {kind}'} {span}"
        where = f"{model} in organization org-simulated on {meter} ({limit.name})"
        asked = f"Requested {limited.requested:.0f}"
        if limited.wait == math.inf:
            words = f"Request too large for {where}: Limit {limit.amount:.0f}, {asked}."
        else:
            used = f"Limit {limit.amount:.0f}, Used {limited.used:.0f}, {asked}"
            soon = _duration(math.ceil(limited.wait * 1e3) / 1e3)
            words = f"Rate limit reached for {where}: {used}. Please try again in {soon}."
        return WireError(429, words, type=kind, error_code="rate_limit_exceeded")


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    head = (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "")
    return f"{head}{rest:g}s"


def text_of(content: Any) -> str:
    """The words of a message's content or a tool's output: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(str(p["text"]) for p in content if isinstance(p, dict) and "text" in p)


def arguments(raw: Any) -> dict[str, Any] | str:
    """A tool call's arguments; the string itself when it is no JSON object."""
    try:
        parsed = orjson.loads(raw)
    except (orjson.JSONDecodeError, TypeError):
        return str(raw)
    return parsed if isinstance(parsed, dict) else str(raw)
