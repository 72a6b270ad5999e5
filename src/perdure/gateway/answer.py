"""A model's answer as a value: what the journal holds and what the SDK gets, live or replayed.

Rule K8: both are made from this one object, so they are equal. The body is decoded (no
content-encoding) and only headers of a short list are kept: rate limits and dates change with
every call and would tempt agents to behave differently on replay, and cookies are secrets.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from perdure import codec

# Names of headers that agents may see. None of them can hold a credential.
HEADERS: frozenset[str] = frozenset(
    {
        "apim-request-id", "content-disposition", "content-type", "location", "request-id",
        "retry-after", "retry-after-ms", "x-amzn-bedrock-input-token-count",
        "x-amzn-bedrock-output-token-count", "x-amzn-errortype", "x-amzn-requestid", "x-request-id",
    }
)  # fmt: skip
FINAL = ("x-should-retry", "false")


@dataclass(frozen=True, slots=True)
class Breach:
    """How a stream broke off. ``error`` is the name of the transport's exception class, which is
    the same in httpx and httpx2."""

    error: str
    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    """``streamed``: it was asked for as a stream. ``breach``: the body is what had arrived when
    the stream broke. ``format`` is the wire format's name; "" for what no provider said.
    ``usage`` is what the provider said of it to us alone, in its own words (``gateway.hidden``).
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    streamed: bool = False
    breach: Breach | None = None
    format: str = ""
    usage: Mapping[str, Any] | None = None

    def encode(self) -> bytes:
        """As codec bytes."""
        doc: dict[str, Any] = {"status": self.status, "headers": self.headers}
        try:
            doc["body"] = self.body.decode()
        except UnicodeDecodeError:
            doc["base64"] = b64encode(self.body).decode()
        if self.streamed:
            doc["streamed"] = True
        if self.format:
            doc["format"] = self.format
        if self.usage is not None:
            doc["usage"] = dict(self.usage)
        if self.breach is not None:
            doc["breach"] = {"error": self.breach.error, "message": self.breach.message}
        # Texts, numbers and what was JSON before: nothing that the codec would have to look at.
        return orjson.dumps(doc)

    @classmethod
    def decode(cls, data: bytes) -> Answer:
        """From a recorded value. Raises the recorded exception where the value is a failure that
        is no answer."""
        doc = codec.decode(data)
        if "status" not in doc:
            raise codec.decode_failure(data)
        body = doc["body"].encode() if "body" in doc else b64decode(doc["base64"])
        breach = doc.get("breach")
        return cls(
            doc["status"],
            tuple((name, value) for name, value in doc["headers"]),
            body,
            bool(doc.get("streamed")),
            None if breach is None else Breach(breach["error"], breach["message"]),
            doc.get("format", ""),
            doc.get("usage"),
        )


def kept(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The headers of a response that are part of its answer, in the response's order."""
    return tuple(
        (name.lower(), value) for name, value in headers.items() if name.lower() in HEADERS
    )
