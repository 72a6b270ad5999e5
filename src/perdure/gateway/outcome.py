"""What comes back from a transport, in words that know neither httpx nor httpx2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

FailureKind = Literal["connect", "timeout", "broken", "local"]


class SendFailed(Exception):
    """The transport raised. ``kind`` "local" means that the request itself cannot be sent, so
    that another try is of no use; ``error`` is the transport's exception class by name."""

    def __init__(self, kind: FailureKind, error: str, message: str) -> None:
        super().__init__(f"{error}: {message}")
        self.kind: FailureKind = kind
        self.error = error
        self.message = message


class Incoming(Protocol):
    """A response whose headers are there."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Case-insensitive."""

    async def read(self) -> bytes | None:
        """The decoded body's next piece; None at its end. Raises SendFailed."""

    async def close(self) -> None:
        """Gives the connection back. Raises nothing."""
