"""One attempt at a run of an agent.

The agent starts from the run's input in every attempt, in a session that is made anew, and the
journal answers what was done before. The user's object is left alone: what runs is a shallow copy,
since Agent Framework adds history providers to an agent that is given a session.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

from agent_framework import AgentResponse, AgentSession, BaseAgent, Message

from perdure.core.ports import current_boundary
from perdure.errors import UsageError
from perdure.frameworks.agent_framework.requests import answer, question, replies, requests_of
from perdure.frameworks.agent_framework.shapes import (
    has_session,
    read_messages,
    read_session,
    write_response,
)
from perdure.frameworks.questions import ask

if TYPE_CHECKING:
    from perdure.runtime.attempt import Attempt


async def run_agent(agent: BaseAgent, attempt: Attempt, value: Any) -> Any:
    """The agent's response to the run's input, as JSON values."""
    name = attempt.agent_name
    messages = read_messages(value, agent=name)
    agent = own(agent)
    session = read_session(value, agent=name)
    if session is None:
        lease = attempt.lease
        session = agent.create_session(session_id=lease.session or lease.run_id)
    while True:
        response = await respond(agent, messages, session)
        requests = requests_of(response, agent)
        if not requests:
            break
        if current_boundary.get() is None:
            raise UsageError(
                f"Agent {name!r} asks its user, and with durability='none' nothing is kept that "
                "could go on with an answer.",
                hint="Leave durability at its default for agents that ask.",
            )
        asked = [question(request, agent=name) for request in requests]
        answers = await ask(attempt, asked)
        messages = replies([answer(r, answers[q.id]) for r, q in zip(requests, asked, strict=True)])
    written = write_response(response)
    if has_session(value):
        return {"response": written, "session": session.to_dict()}
    return written


def own(agent: BaseAgent) -> BaseAgent:
    """A copy that may be given providers without the user's agent having them."""
    copied = copy.copy(agent)
    copied.context_providers = list(agent.context_providers)
    return copied


async def respond(
    agent: BaseAgent, messages: list[Message], session: AgentSession
) -> AgentResponse[Any]:
    """One turn; streamed, so that tokens are told of as they come, unless a middleware of the
    user's sees the response: that may be written for whole ones only."""
    run = cast("Any", agent).run
    if _sees_responses(agent):
        return cast("AgentResponse[Any]", await run(messages, session=session))
    stream = run(messages, session=session, stream=True)
    return cast("AgentResponse[Any]", await stream.get_final_response())


def _sees_responses(agent: BaseAgent) -> bool:
    from agent_framework._middleware import categorize_middleware

    own = getattr(agent, "middleware", None)
    found = categorize_middleware(list(own) if own is not None else None)
    return bool(found["agent"] or found["chat"])
