"""The effect's own retries (rule F4): whether a failed model call is worth another try, and when.

SDKs are told not to retry (``x-should-retry: false``), because theirs re-enter the transport and
would be recorded with their back-off. So these are all the retries there are. What counts as
passing is what the Anthropic and OpenAI SDKs retry (408, 409, 429, 5xx, no answer at all), less a
429 that says that money or quota is used up, which no waiting of ours mends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from perdure.core.retry import RetryPolicy, Severity

_PASSING = frozenset({408, 409, 429})
# Types, codes and words of errors that stay until somebody pays or a day has passed.
_USED_UP = re.compile(
    r"insufficient_quota|billing|credit balance|insufficient credit|spend(ing)? limit|usage limits?"
    r"|insufficient balance|PerDay",
    re.IGNORECASE,
)
# An error inside a 200 stream has no status; these types would come with one that is final.
_FINAL_TYPES = frozenset(
    {
        "authentication_error", "billing_error", "content_filter", "insufficient_quota",
        "invalid_api_key", "invalid_prompt", "invalid_request_error", "model_not_found",
        "not_found_error", "permission_error", "request_too_large", "validationException",
    }
)  # fmt: skip


def _policy() -> RetryPolicy:
    return RetryPolicy(
        attempts=4, base=timedelta(milliseconds=500), factor=2.0, cap=timedelta(seconds=30)
    )


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """``total``: no try starts later than this after the first one."""

    policy: RetryPolicy = field(default_factory=_policy)
    total: timedelta = timedelta(minutes=10)


def severity(status: int, headers: Mapping[str, str], body: bytes) -> Severity:
    """What an error answer says about trying again."""
    told = headers.get("x-should-retry")
    if status == 429 and _is_used_up(body):
        return Severity.FATAL
    if told in ("true", "false"):
        return Severity.RETRYABLE if told == "true" else Severity.FATAL
    passing = status in _PASSING or (status >= 500 and status != 501)
    return Severity.RETRYABLE if passing else Severity.FATAL


def _is_used_up(body: bytes) -> bool:
    if b"RetryInfo" in body:
        # Google says "check your plan and billing details" of every rate limit, and when to come
        # again; only its limits per day are not worth waiting for.
        return b"PerDay" in body
    return _USED_UP.search(body.decode("utf-8", "replace")) is not None


def severity_in_stream(error: Mapping[str, Any]) -> Severity:
    """The same of an error that came inside a 200 stream."""
    kinds = {str(error.get("type")), str(error.get("code"))}
    code = error.get("code")
    if kinds & _FINAL_TYPES or _USED_UP.search(str(error.get("message", ""))):
        return Severity.FATAL
    if isinstance(code, int) and 400 <= code < 500 and code not in _PASSING:
        return Severity.FATAL
    return Severity.RETRYABLE


def retry_after(headers: Mapping[str, str], body: bytes, now: datetime) -> timedelta | None:
    """How long the provider asks to wait: ``retry-after-ms``, ``retry-after`` (seconds or a date,
    RFC 9110 section 10.2.3), or Google's RetryInfo in the body."""
    try:
        if "retry-after-ms" in headers:
            return _at_least_0(timedelta(milliseconds=float(headers["retry-after-ms"])))
        if "retry-after" in headers:
            return _at_least_0(_seconds_or_date(headers["retry-after"], now))
    except (ValueError, TypeError, OverflowError):
        return None
    if b"RetryInfo" in body:
        return _retry_info(body)
    return None


def _seconds_or_date(value: str, now: datetime) -> timedelta:
    try:
        return timedelta(seconds=float(value))
    except ValueError:
        at = parsedate_to_datetime(value)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)) - now


def _at_least_0(delay: timedelta) -> timedelta:
    return max(delay, timedelta(0))


def _retry_info(body: bytes) -> timedelta | None:
    try:
        details = orjson.loads(body)["error"]["details"]
        for detail in details:
            if str(detail.get("@type", "")).endswith("google.rpc.RetryInfo"):
                return timedelta(seconds=float(str(detail["retryDelay"]).removesuffix("s")))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return None
