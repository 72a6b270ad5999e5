"""Perdure from outside, over HTTP: :class:`Client` and :class:`AsyncClient`.

What is asked and when it is asked again is written once, as generators of calls and pauses
(``calls``, ``asking``, ``following``); the two clients only send, sleep and read.
"""

from __future__ import annotations

from perdure.client.asking import Retries
from perdure.client.asynchronous import AsyncClient
from perdure.client.blocking import Client
from perdure.client.events import (
    AttemptStarted,
    Delta,
    Effect,
    EffectStarted,
    Emitted,
    Event,
    SignalReceived,
    Status,
    Warned,
)
from perdure.client.views import AgentView, RunView

__all__ = [
    "AgentView", "AsyncClient", "AttemptStarted", "Client", "Delta", "Effect", "EffectStarted",
    "Emitted", "Event", "Retries", "RunView", "SignalReceived", "Status", "Warned",
]  # fmt: skip
