"""A workflow for each attempt: a deep copy of the structure and of its executors' own state,
that shares what has none (agents, clients, tools) and what cannot be copied.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from agent_framework import (
    BaseAgent,
    BaseChatClient,
    FunctionalWorkflow,
    FunctionTool,
    Workflow,
    WorkflowAgent,
    WorkflowExecutor,
)
from agent_framework._mcp import MCPTool

_SHARED = (BaseAgent, BaseChatClient, FunctionTool, MCPTool)


def fresh(workflow: Any) -> Callable[[], Any]:
    """A maker of workflows like ``workflow``, as it is now."""
    if isinstance(workflow, FunctionalWorkflow):
        return lambda: FunctionalWorkflow(
            workflow._func,
            name=workflow.name,
            description=workflow.description,
            checkpoint_storage=workflow._checkpoint_storage,
        )
    shared: dict[int, Any] = {}
    _find_shared(workflow, shared)
    template = copy.deepcopy(workflow, dict(shared))
    return lambda: copy.deepcopy(template, dict(shared))


def _find_shared(workflow: Workflow, shared: dict[int, Any]) -> None:
    for executor in workflow.get_executors_list():
        for value in list(vars(executor).values()):
            for found in _held(value):
                if isinstance(found, _SHARED) and not isinstance(found, WorkflowAgent):
                    shared[id(found)] = found
        if isinstance(executor, WorkflowExecutor):
            _find_shared(executor.workflow, shared)
    for executor in workflow.get_executors_list():
        for value in list(vars(executor).values()):
            try:
                copy.deepcopy(value, dict(shared))
            except Exception:  # a connection, a lock: not the executor's to have twice
                shared[id(value)] = value


def _held(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list | tuple | set):
        yield from value
