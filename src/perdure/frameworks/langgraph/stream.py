"""What a graph says while it runs, as events of its run.

- Tokens and messages: pieces of the agent's output (``delta`` rows of kind ``output``), each
  ``{"type": "message", "node", "path", "message"}`` with the message, or the gathered pieces of
  one, in LangChain's shape. Only of what is new: what a replay repeats was seen already (rule
  E1).
- A node that ended: the event ``state``, keyed by its place, so once however often it is replayed.
- What nodes give to the stream writer: the event ``custom``, keyed by content.

They are written beside the agent's branches (``named_place``), where nothing follows from them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import LLMResult
from langgraph.pregel._messages import StreamMessagesHandler

from perdure.codec import canonical
from perdure.core.branch import under
from perdure.core.digest import digest
from perdure.core.record import Kind
from perdure.frameworks.langgraph.places import ID, SEPARATOR, Places
from perdure.frameworks.langgraph.shapes import message as dump
from perdure.frameworks.langgraph.shapes import plain
from perdure.runtime.place import Place

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt

GATHER_SECONDS = 0.05  # pieces of one message are gathered this long
MAX_UPDATE = 32 * 1024  # bytes; of a larger update the event tells only the keys

NODES, CUSTOM = "events/nodes", "events/custom"


class _Tokens(StreamMessagesHandler):
    """LangGraph's own collector of messages, which also makes models stream."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream.message, True)
        self._stream = stream

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        super().on_llm_end(response, run_id=run_id, **kwargs)
        self._stream.ended()


class Stream:
    """The events of one attempt. ``tokens`` goes into the graph's callbacks, ``chunk`` takes what
    the graph's stream yields."""

    def __init__(self, attempt: Attempt, places: Places) -> None:
        self._attempt = attempt
        self._places = places
        # branch -> whether its last request went out; above it, whether any did
        self._live: dict[str, bool] = {}
        self._pieces: dict[str, list[tuple[BaseMessage, dict[str, Any]]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.tokens = _Tokens(self)
        attempt.on_request = self._requested

    # -- tokens -------------------------------------------------------------------------------

    def _requested(self, place: Place, live: bool) -> None:
        if place.name is None:
            return
        self._live[place.name] = live
        above = place.name.rpartition("/")[0]
        while above:
            self._live[above] = live or self._live.get(above, False)
            above = above.rpartition("/")[0]

    def _is_new(self, path: str) -> bool:
        known = self._live.get(path)
        return known if known is not None else not self._attempt.replaying

    def message(self, chunk: Any) -> None:
        """A message or a piece of one; called where it is made, in any thread."""
        said, metadata = chunk[2]
        path = self._places.name(str(metadata.get("langgraph_checkpoint_ns", "")))
        if self._is_new(path):
            about = {"node": metadata.get("langgraph_node"), "path": path}
            self._attempt.loop.call_soon_threadsafe(self._gather, said, about)

    def ended(self) -> None:
        """A model has said all: what it said is written with what it is recorded by."""
        self._attempt.loop.call_soon_threadsafe(self.flush)

    def _gather(self, said: BaseMessage, about: dict[str, Any]) -> None:
        self._pieces.setdefault(said.id or "", []).append((said, about))
        if not isinstance(said, AIMessageChunk):
            self.flush()
        elif self._timer is None:
            self._timer = self._attempt.loop.call_later(GATHER_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what was gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pieces, self._pieces = self._pieces, {}
        for said in pieces.values():
            first, about = said[0]
            chunks = [piece for piece, _ in said if isinstance(piece, AIMessageChunk)]
            whole = sum(chunks[1:], start=chunks[0]) if chunks else first
            self._attempt.output({"type": "message", **about, "message": dump(whole)})

    # -- events -------------------------------------------------------------------------------

    def chunk(self, namespace: tuple[str, ...], mode: str, payload: Any) -> None:
        """A chunk of the modes ``tasks`` and ``custom``. Called on the event loop."""
        if mode == "custom":
            value = canonical(plain(payload))
            self._note(CUSTOM, "custom", digest(value), value)
        elif "result" in payload and not payload["error"] and not payload["interrupts"]:
            self._node(namespace, payload)

    def _node(self, namespace: tuple[str, ...], payload: Any) -> None:
        name, result = payload["name"], payload["result"]
        path = self._places.name(SEPARATOR.join((*namespace, f"{name}{ID}{payload['id']}")))
        event = {"name": name, "path": path}
        value = orjson.dumps({**event, "update": plain(result)})
        if len(value) > MAX_UPDATE:
            keys = sorted(result) if isinstance(result, dict) else []
            value = orjson.dumps({**event, "keys": keys, "omitted_bytes": len(value)})
        self._note(NODES, "state", digest(path.encode()), value)

    def _note(self, beside: str, name: str, content: bytes, value: bytes) -> None:
        attempt = self._attempt
        attempt.note(attempt.named_place(beside), Kind.EMIT, name, content, value)

    def settled(self, branch: str) -> None:
        """A part of the graph starts over: what it says then is told by its requests again."""
        for path in [p for p in self._live if under(p, branch)]:
            del self._live[path]
