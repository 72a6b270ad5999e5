"""``python -m bench.stub_provider PORT``: answers every POST with one chat completion, at once,
over connections that it keeps: as little as a server can do, so that clients are the limit."""

from __future__ import annotations

import asyncio
import sys

BODY = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1764000000,"model":"gpt-5",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"The moon pulls at the sea."},'
    b'"finish_reason":"stop","logprobs":null}],"usage":{"prompt_tokens":20,"completion_tokens":7,'
    b'"total_tokens":27}}'
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY)
) + BODY


class Provider(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            assert isinstance(self._transport, asyncio.WriteTransport)
            self._transport.write(ANSWER)


async def main(port: int) -> None:
    """Until it is ended."""
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
