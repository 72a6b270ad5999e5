"""What a server tells of runs and agents, typed."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from perdure import codec
from perdure.client.failures import ending
from perdure.core.run import RunState


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as the server told of it. ``raw`` is the whole document: see the HTTP reference. What
    it does not hold (a listing has no inputs and results) is None."""

    id: str
    agent: str
    state: RunState
    trace_id: str
    attempts: int = 0
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline_at: datetime | None = None
    labels: dict[str, str] = field(default_factory=dict)
    waits: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def final(self) -> bool:
        return self.state.final

    @property
    def input(self) -> Any:
        return self._payload("input", None)

    def result(self, type: Any = None) -> Any:
        """What the run returned, read as ``type`` (a pydantic model, a dataclass, …). Raises
        RunFailed, RunDead, RunCancelled, RunTimeout or LoopGuard for one that ended otherwise,
        CodecError where it does not fit."""
        if self.state is RunState.SUCCEEDED:
            return self._payload("result", type)
        raise ending(self.id, self.state.value, self.error)

    def _payload(self, name: str, type: Any) -> Any:
        value: Any = self.raw.get(name)
        if self.raw.get(f"{name}_encoding") == "base64":
            return b64decode(value)
        return codec.decode(orjson.dumps(value), type, what=f"{name} of run {self.id}")


@dataclass(frozen=True, slots=True)
class AgentView:
    """An agent that can be run. ``here``: its code is in the server's own process."""

    name: str
    framework: str
    description: str
    durability: str
    here: bool


def run_view(document: dict[str, Any]) -> RunView:
    """A run's document, or the receipt of its start."""
    return RunView(
        id=document["id"],
        agent=document["agent"],
        state=RunState(document["state"]),
        trace_id=document["trace_id"],
        attempts=document.get("attempts", 0),
        created_at=_time(document.get("created_at")),
        started_at=_time(document.get("started_at")),
        finished_at=_time(document.get("finished_at")),
        deadline_at=_time(document.get("deadline_at")),
        labels=document.get("labels", {}),
        waits=document.get("waits", []),
        error=document.get("error"),
        raw=document,
    )


def agent_view(document: dict[str, Any]) -> AgentView:
    return AgentView(**{name: document[name] for name in AgentView.__slots__})


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
