"""Names of an agent's branches that are the same in every attempt, and in every version of
Pydantic AI (rule K3): some versions ask the model in tasks of their own, others do not.

A model call is ``step#2``, by its agent's own count of steps, which are rounds in the sense of
``core.branch``: step 2 begins when step 1 is over. A tool call is ``step#2/<id of the call>``. What
an agent does that a tool runs comes below that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from perdure.frameworks import branches

# Ids that Pydantic AI makes up where a provider gives none: others in every attempt.
_MADE_UP = "pyd_ai_"

# The step of the agent whose code this is; None in a tool's own code.
_step: ContextVar[int | None] = ContextVar("perdure_pydantic_ai_step", default=None)


def here() -> str | None:
    """The calling code's place (``Agent.namer``)."""
    path, step = branches.here(), _step.get()
    if step is None:
        return path
    return _name(step) if path is None else f"{path}/{_name(step)}"


def enter(step: int) -> None:
    """The agent whose code calls begins this step."""
    _step.set(step)


@contextmanager
def calling(step: int, name: str, call_id: str | None, request: bytes) -> Iterator[None]:
    """The code inside is a call of the tool ``name``, made in ``step`` with the digest ``request``
    of its arguments."""
    with ExitStack() as stack:
        token = _step.set(None)
        stack.callback(_step.reset, token)
        stack.enter_context(branches.branch(_name(step)))
        if call_id is not None:
            made_up = call_id.startswith(_MADE_UP)
            own = f"{name}:{request.hex()[:12]}" if made_up else call_id
            stack.enter_context(branches.branch(_quote(own)))
        yield


def _name(step: int) -> str:
    return f"step#{step}"


def _quote(name: str) -> str:
    """``name`` as a component of a branch: neither a round nor a sibling's index."""
    name = name.replace("#", "%23")
    return f"{name}." if name.isdigit() else name
