"""Synthetic responses: how an SDK is told no.

Never an exception (SDKs retry those by entering the transport again) but an HTTP answer in the
provider's own error format that says ``x-should-retry: false``.
"""

from __future__ import annotations

import orjson

from perdure.errors import PerdureError
from perdure.gateway.answer import FINAL, Answer
from perdure.gateway.formats import Format
from perdure.gateway.outcome import SendFailed

_JSON = ("content-type", "application/json")
# Which status a way of not being answered is: the gateway's own, as RFC 9110 means them.
_STATUS = {"connect": 503, "timeout": 504, "broken": 502, "local": 400}


def refuse(wire: Format, status: int, words: str) -> Answer:
    """An error answer in the provider's format."""
    return Answer(status, (_JSON, FINAL), orjson.dumps(wire.error(status, words)))


def refuse_error(wire: Format, error: PerdureError) -> Answer:
    """One of Perdure's own errors as an answer."""
    status = error.status if 400 <= error.status < 600 else 500
    words = f"perdure: {error.message}" + (f" {error.hint}" if error.hint else "")
    return refuse(wire, status, words)


def unanswered(wire: Format, host: str, failure: SendFailed, tries: int) -> Answer:
    """The provider could not be reached, in the end."""
    often = f" (after {tries} tries)" if tries > 1 else ""
    words = f"perdure: no answer from {host}{often}: {failure.error}: {failure.message}"
    return refuse(wire, _STATUS[failure.kind], words)
