"""``continue_as``: a run goes on in its next generation, with a new input and a fresh journal (Z1).

The attempt is closed as for a park: effects in flight are recorded, the agent is unwound, what it
returns is discarded. Its settlement begins the next generation in the same transaction, so a crash
leaves the run in the one or in the other: docs/decisions/0012.
"""

from __future__ import annotations

from typing import Any, NoReturn, cast

from perdure import codec
from perdure.core.ports import current_boundary
from perdure.errors import BoundaryError
from perdure.runtime.closing import Ending
from perdure.runtime.place import Place
from perdure.runtime.verbs import _blocking, _on_loop, _refuse_in_once


async def continue_as(input: Any = None) -> NoReturn:
    """End this generation of the run here, and begin its next one with ``input``: the agent is
    called anew, with an empty journal. Whoever waits for the run goes on waiting, and has the last
    generation's result; signals that were not taken are there for the next one. Never returns;
    await it. Raises BoundaryError outside a run and inside a ``once`` effect, CodecError and
    InvalidInput for an input that the agent cannot take."""
    await _on_loop(_at(), _continue, input)
    raise AssertionError("a generation that is over went on")


def continue_as_blocking(input: Any = None) -> NoReturn:
    """``continue_as`` for synchronous agent code."""
    _blocking(_at(), "continue_as", _continue, input)
    raise AssertionError("a generation that is over went on")


def _at() -> Place:
    place = current_boundary.get()
    if place is None:
        raise BoundaryError(
            "perdure.continue_as was called outside a run.",
            hint="It works in the code of an agent that Perdure executes.",
        )
    _refuse_in_once(cast("Place", place), "continue_as")
    return cast("Place", place)


async def _continue(place: Place, foreign: bool, input: Any) -> None:
    attempt = place.attempt
    agent = attempt.agent
    data = codec.encode(input, agent.input_type, what=f"input of agent {agent.name!r}")
    agent.validate(data)
    following = await attempt.stored(data)
    if attempt.closing.ending is None:
        attempt.closing.following = following
        attempt.closing.close(Ending.CONTINUE)
    await attempt.block(foreign, place)
