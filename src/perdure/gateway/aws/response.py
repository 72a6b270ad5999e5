"""An ``AWSResponse`` made from an answer: live from the pump's pieces, or from the journal."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from botocore.awsrequest import AWSResponse

from perdure.gateway.aws.failure import exception
from perdure.gateway.exchange import Served
from perdure.gateway.transport.body import SyncBody, SyncChannel


class Raw(io.RawIOBase):
    """What botocore reads a body from: as much of urllib3's response as it uses."""

    def __init__(self, body: SyncBody) -> None:
        self._body = body
        self._pieces = body.pieces()
        self._left = b""

    def readable(self) -> bool:
        """See io.IOBase."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See io.RawIOBase."""
        piece = self._left or next(self._pieces, b"")
        size = min(len(buffer), len(piece))
        buffer[:size] = piece[:size]
        self._left = piece[size:]
        return size

    def read(self, size: int | None = -1, /) -> bytes:
        """See io.RawIOBase; None as -1, which botocore says."""
        return super().read(-1 if size is None else size) or b""

    def stream(self, amt: int = 2**16, decode_content: bool | None = None) -> Iterator[bytes]:
        """Its pieces as they come."""
        if self._left:
            left, self._left = self._left, b""
            yield left
        yield from self._pieces

    def close(self) -> None:
        """The consumer reads no more; a live answer is recorded to its end without it."""
        self._body.leave()
        super().close()

    def release_conn(self) -> None:
        """See urllib3."""


def respond(request: Any, served: Served) -> AWSResponse:
    """The response to ``request``, read to its end unless it is wanted as a stream."""
    answer = served.answer
    source = served.channel if isinstance(served.channel, SyncChannel) else answer
    raw = Raw(SyncBody(source, exception))
    response = AWSResponse(request.url, answer.status, dict(answer.headers), raw)
    if not request.stream_output:
        response.content  # noqa: B018 (botocore's own way to read it now)
    return response
