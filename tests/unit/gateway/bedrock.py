"""A small HTTP server that speaks enough of Amazon Bedrock's runtime API, in its wire forms."""

from __future__ import annotations

import struct
import threading
import zlib
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote

import orjson


def message(payload: dict[str, Any], **headers: str) -> bytes:
    """One message of an event stream; ``event_type="x"`` is the header ``:event-type``."""
    head = b""
    for name, value in headers.items():
        key = (":" + name.replace("_", "-")).encode()
        head += bytes([len(key)]) + key + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    body = orjson.dumps(payload)
    prelude = struct.pack(">II", 16 + len(head) + len(body), len(head))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    whole = prelude + head + body
    return whole + struct.pack(">I", zlib.crc32(whole))


def event(kind: str, payload: dict[str, Any]) -> bytes:
    """An event of a converse stream."""
    form = {"content_type": "application/json", "message_type": "event"}
    return message(payload, event_type=kind, **form)


def exception(kind: str, words: str) -> bytes:
    """What is wrong, within a stream."""
    form = {"content_type": "application/json", "message_type": "exception"}
    return message({"message": words}, exception_type=kind, **form)


def converse(words: list[str]) -> list[bytes]:
    """A converse stream that says ``words``."""
    return [
        event("messageStart", {"role": "assistant"}),
        *(
            event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}})
            for word in words
        ),
        event("contentBlockStop", {"contentBlockIndex": 0}),
        event("messageStop", {"stopReason": "end_turn"}),
        event("metadata", {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3},
                           "metrics": {"latencyMs": 5}}),
    ]  # fmt: skip


def chunks(*makers: dict[str, Any]) -> list[bytes]:
    """The stream of an invocation: the events of the model's maker."""
    return [event("chunk", {"bytes": b64encode(orjson.dumps(one)).decode()}) for one in makers]


class BedrockServer:
    """``answers`` are given one a request, the last again and again: (status, headers, body), where
    a list as body is streamed. After the first piece of a stream it waits for ``go``."""

    def __init__(self, *answers: tuple[int, dict[str, str], Any]) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.go = threading.Event()
        self.go.set()
        self.cut = False  # whether streams end without their last chunk
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server._answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def _answer(self, http: BaseHTTPRequestHandler) -> None:
        body = http.rfile.read(int(http.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in http.headers.items()}
        self.requests.append((unquote(http.path), headers, orjson.loads(body)))
        at = min(len(self.requests), len(self.answers)) - 1
        status, extra, given = self.answers[at]
        http.close_connection = True
        http.send_response(status)
        http.send_header("connection", "close")
        http.send_header("x-amzn-requestid", f"request-{len(self.requests)}")
        for name, value in extra.items():
            http.send_header(name, value)
        if isinstance(given, list):
            http.send_header("content-type", "application/vnd.amazon.eventstream")
            http.send_header("transfer-encoding", "chunked")
            http.end_headers()
            for part in self._parts(given):
                http.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
                http.wfile.flush()
            if not self.cut:
                http.wfile.write(b"0\r\n\r\n")
            return
        raw = orjson.dumps(given)
        http.send_header("content-type", "application/json")
        http.send_header("content-length", str(len(raw)))
        http.end_headers()
        http.wfile.write(raw)

    def _parts(self, given: list[bytes]) -> Iterator[bytes]:
        for number, part in enumerate(given):
            if number == 2:
                self.go.wait()
            yield part
