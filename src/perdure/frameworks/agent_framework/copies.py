"""A workflow for each attempt: a copy of the structure and of what its executors keep, that shares
what is not theirs.

Copied are executors and Agent Framework's own parts of a workflow, and data: containers,
dataclasses, pydantic models, messages, sessions. Everything else that an executor refers to
(agents, clients, tools, connections, objects of the user's classes) is shared between attempts, as
it is between runs without Perdure.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from types import MethodType
from typing import Any

from agent_framework import (
    BaseAgent,
    BaseChatClient,
    Executor,
    FileCheckpointStorage,
    FunctionalWorkflow,
    FunctionTool,
    InMemoryCheckpointStorage,
    WorkflowAgent,
)
from agent_framework._mcp import MCPTool
from pydantic import BaseModel

_SHARED = (
    BaseAgent, BaseChatClient, FunctionTool, MCPTool,
    FileCheckpointStorage, InMemoryCheckpointStorage,
)  # fmt: skip
_CONTAINERS = (dict, list, tuple, set, frozenset, deque)


def fresh(workflow: Any) -> Callable[[], Any]:
    """A maker of workflows like ``workflow``, as it is now."""
    if isinstance(workflow, FunctionalWorkflow):
        return lambda: FunctionalWorkflow(
            workflow._func,
            name=workflow.name,
            description=workflow.description,
            checkpoint_storage=workflow._checkpoint_storage,
        )
    template = _copied(workflow)
    return lambda: _copied(template)


def _copied(workflow: Any) -> Any:
    return copy.deepcopy(workflow, {id(found): found for found in _foreign(workflow)})


def _foreign(root: Any) -> Iterator[Any]:
    """What is referred to from ``root`` and is not to be copied."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, dict):
            waiting += [*found.keys(), *found.values()]
        elif isinstance(found, _CONTAINERS):
            waiting += found
        elif isinstance(found, MethodType):
            waiting.append(found.__self__)
        elif _is_copied(found):
            waiting += getattr(found, "__dict__", {}).values()
        elif hasattr(found, "__dict__") and not isinstance(found, type):
            yield found


def _is_copied(found: Any) -> bool:
    if isinstance(found, type):
        return False
    if isinstance(found, _SHARED):
        return isinstance(found, WorkflowAgent)
    if isinstance(found, Executor | BaseModel) or is_dataclass(found):
        return True
    return type(found).__module__.partition(".")[0] == "agent_framework"
