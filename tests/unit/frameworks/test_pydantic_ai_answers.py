"""What people may say to a deferred call."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_ai import ModelRetry
from pydantic_ai.tools import ToolApproved, ToolDenied

from perdure.frameworks.pydantic_ai.deferred import approval, call_result
from perdure.frameworks.pydantic_ai.values import ToolFailed


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (True, True),
        (False, False),
        ({"approved": True}, ToolApproved()),
        ({"approved": True, "override_args": {"x": 1}}, ToolApproved(override_args={"x": 1})),
        ({"approved": True, "message": "fine"}, ToolApproved()),
        ({"approved": False}, ToolDenied()),
        ({"approved": False, "message": "No."}, ToolDenied("No.")),
        ({"kind": "tool-approved"}, ToolApproved()),
        ({"kind": "tool-denied", "message": "No."}, ToolDenied("No.")),
        # never guessed
        (None, None),
        ("yes", None),
        (1, None),
        ({}, None),
        ({"approved": "yes"}, None),
        ({"approved": True, "override_args": 5}, None),
    ],
)
def test_approval(said: Any, meant: Any) -> None:
    assert approval(said) == meant
    assert type(approval(said)) is type(meant)


def test_results_of_calls_made_outside() -> None:
    for value in (None, "x", 3, {"message": "hello"}, {"kind": "model-retry"}):
        assert call_result(value) == value
    retry = call_result({"kind": "model-retry", "message": "Which?"})
    assert isinstance(retry, ModelRetry)
    failed = call_result({"kind": "tool-failed", "message": "None."})
    assert isinstance(failed, ToolFailed)
    assert str(failed) == "None."
