"""What a framework's agent asks a human, as durable waits.

Each question becomes an event ``interrupt`` with an id, and waits for a signal ``resume:<id>`` or
``resume`` whose payload is the answer. The run parks meanwhile. An id must be the same in every
attempt: a tool call's id, or a digest of what is asked and where.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import orjson

from perdure import codec
from perdure.core.digest import digest
from perdure.core.ports import current_boundary
from perdure.core.record import Kind, Promise
from perdure.runtime.place import Place
from perdure.runtime.ticket import Live
from perdure.runtime.waiting import signal_document, signal_payload

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt

SIGNAL = "resume"
EVENTS = "events/interrupts"


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to be answered. ``about`` (JSON values) is told to whoever may answer."""

    id: str
    about: dict[str, Any]


async def ask(attempt: Attempt, questions: Sequence[Question]) -> dict[str, Any]:
    """The answers, by the questions' ids. All are asked at once (rule C1)."""
    here = cast("Place", current_boundary.get()).here()
    ordered = sorted(questions, key=lambda question: question.id)
    if len(ordered) == 1:
        return {ordered[0].id: await _ask(attempt, here, ordered[0])}

    async def in_turn(question: Question) -> Any:
        return await _ask(attempt, here.fork(asyncio.current_task()), question)

    waits = [asyncio.ensure_future(in_turn(question)) for question in ordered]
    try:
        answers = await asyncio.gather(*waits)
    finally:
        for wait in waits:
            wait.cancel()
    return {question.id: answer for question, answer in zip(ordered, answers, strict=True)}


async def _ask(attempt: Attempt, place: Place, question: Question) -> Any:
    tell(attempt.named_place(EVENTS), question)
    value, _ = await answer(place, question.id)
    return value


def tell(beside: Place, question: Question) -> None:
    """The event ``interrupt``, once for each question."""
    event = orjson.dumps({"id": question.id, **question.about})
    beside.attempt.note(beside, Kind.EMIT, "interrupt", digest(question.id.encode()), event)


async def answer(place: Place, id: str, *, foreign: bool = False) -> tuple[Any, bool]:
    """The next answer to a question that was told, and whether it is new: no attempt had it.
    ``foreign``: a thread waits."""
    attempt, signal = place.attempt, f"{SIGNAL}:{id}"
    ticket = await attempt.admit(
        place, Kind.SIGNAL, signal, digest(b""), Promise.READS, foreign=foreign
    )
    if ticket.live:
        live = cast("Live", ticket)
        found = await attempt.waiting.signal(
            live, signal, SIGNAL, until=None, reason="signal", foreign=foreign
        )
        document = signal_document(found)
        await live.done(document)
    else:
        document = ticket.value
    payload = await attempt.opened(signal_payload(document)) or b"null"
    return codec.decode(payload, what=f"payload of signal {signal!r}"), ticket.live
