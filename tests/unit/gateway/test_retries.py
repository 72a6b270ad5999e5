from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from perdure.core.retry import Severity
from perdure.gateway.retries import RetrySettings, retry_after, severity, severity_in_stream

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
OPENAI_QUOTA = (
    b'{"error":{"message":"You exceeded your current quota, please check your plan and billing '
    b'details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}'
)
GOOGLE_MINUTE = (
    b'{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"You exceeded your current '
    b'quota, please check your plan and billing details.","details":[{"@type":'
    b'"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":'
    b'"GenerateRequestsPerMinutePerProjectPerModel"}]},{"@type":'
    b'"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"23.5s"}]}}'
)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_what_passes_is_tried_again(status: int) -> None:
    assert severity(status, {}, b"") is Severity.RETRYABLE


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422, 501])
def test_what_stays_is_not(status: int) -> None:
    assert severity(status, {}, b"") is Severity.FATAL


@pytest.mark.parametrize(
    "body",
    [
        OPENAI_QUOTA,
        b'{"error":{"message":"Your credit balance is too low"}}',
        b'{"error":{"message":"Project hit its monthly spend limit"}}',
        b'{"error":{"code":"billing_hard_limit_reached"}}',
        GOOGLE_MINUTE.replace(b"PerMinute", b"PerDay"),
    ],
)
def test_no_waiting_mends_a_used_up_account(body: bytes) -> None:
    assert severity(429, {}, body) is Severity.FATAL
    assert severity(429, {"x-should-retry": "true"}, body) is Severity.FATAL


def test_google_says_billing_of_every_rate_limit() -> None:
    assert severity(429, {}, GOOGLE_MINUTE) is Severity.RETRYABLE


def test_the_provider_may_say_so_itself() -> None:
    assert severity(500, {"x-should-retry": "false"}, b"") is Severity.FATAL
    assert severity(400, {"x-should-retry": "true"}, b"") is Severity.RETRYABLE


def test_errors_inside_a_stream() -> None:
    assert severity_in_stream({"type": "overloaded_error"}) is Severity.RETRYABLE
    assert severity_in_stream({"code": "server_error"}) is Severity.RETRYABLE
    assert severity_in_stream({"type": "rate_limit_error"}) is Severity.RETRYABLE
    assert severity_in_stream({"code": 503}) is Severity.RETRYABLE
    assert severity_in_stream({"code": 400}) is Severity.FATAL
    assert severity_in_stream({"type": "invalid_request_error"}) is Severity.FATAL
    assert severity_in_stream({"code": "insufficient_quota"}) is Severity.FATAL
    assert severity_in_stream({"message": "Your credit balance is too low"}) is Severity.FATAL


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
    ],
)
def test_how_long_the_provider_asks_to_wait(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers, b"", NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", ["soon", "", "nan", "inf", "1e400"])
def test_nonsense_asks_for_nothing(value: str) -> None:
    assert retry_after({"retry-after": value}, b"", NOW) is None
    assert retry_after({"retry-after-ms": value}, b"", NOW) is None


def test_google_asks_in_the_body() -> None:
    assert retry_after({}, GOOGLE_MINUTE, NOW) == timedelta(seconds=23.5)
    assert retry_after({}, b'{"error":{"details":"RetryInfo"}}', NOW) is None
    assert retry_after({}, b"RetryInfo", NOW) is None


def test_defaults() -> None:
    assert RetrySettings().policy.attempts == 4
