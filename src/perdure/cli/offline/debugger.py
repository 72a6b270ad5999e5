"""pdb for a replay: stops at the first line of a plain function, and where the agent raised."""

from __future__ import annotations

import functools
import inspect
import pdb
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from perdure.runtime.agent import Agent, from_function


def stopping(agent: Agent) -> Agent:
    """The agent with a stop at its first line. A framework's object has no first line of its own:
    there ``breakpoint()`` in the code does it."""
    if agent.framework != "python" or not inspect.isroutine(agent.target):
        return agent
    function = agent.target
    made = from_function(_traced(function), name=agent.name, policy=agent.policy)
    return replace(agent, invoke=made.invoke)


def post_mortem(error: BaseException) -> None:
    """Look at the frames of an error."""
    pdb.post_mortem(error.__traceback__)


def _traced(function: Any) -> Any:
    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def stream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            items = function(*args, **kwargs)
            _trace()
            async for item in items:
                yield item

        return stream
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            body = function(*args, **kwargs)
            _trace()
            try:
                return await body
            finally:
                sys.settrace(None)

        return call

    @functools.wraps(function)
    def call_sync(*args: Any, **kwargs: Any) -> Any:
        _trace()
        try:
            return function(*args, **kwargs)
        finally:
            sys.settrace(None)

    return call_sync


def _trace() -> None:
    """Stop at the first line of whatever is called next."""
    debugger = pdb.Pdb(nosigint=True)
    debugger.reset()
    sys.settrace(debugger.trace_dispatch)
