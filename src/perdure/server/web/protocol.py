"""HTTP/1.1 as uvicorn speaks it with httptools, whose parser is in C, with the bound that it lacks:
it would gather a request's headers for as long as they come."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 * 1024  # of one request's line and headers, what one read brings aside


class Protocol(HttpToolsProtocol):
    """For ``uvicorn.Config(http=...)``."""

    _unread = 0  # bytes since the last that led to something

    def data_received(self, data: bytes) -> None:
        self._unread += len(data)
        super().data_received(data)
        if self._unread <= HEAD_BYTES or self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.send_400_response(f"A request's headers may have {HEAD_BYTES} bytes.")
        else:  # trailers, or what else comes around a body
            self.transport.abort()

    def on_headers_complete(self) -> None:
        self._unread = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unread = 0
        super().on_message_complete()
