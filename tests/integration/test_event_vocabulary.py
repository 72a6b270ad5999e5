"""Every framework's events fit the one schema that docs/reference/events.md points to.

The logs are those of the kill tests' agents, one run each, recorded in tests/compat.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from perdure.cli.offline.document import load
from perdure.server.event_view import view
from perdure.server.openapi.events import FRAMEWORK_EVENTS, event
from tests.compat.record import JOURNALS

FILES = sorted(JOURNALS.glob("*.json"))
EVENT = Draft202012Validator(event())


def events(file: Path) -> list[dict[str, Any]]:
    """As clients see them."""
    return [view(one) for one in load(file.read_bytes(), file.name).log]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_log_fits_the_schema(file: Path) -> None:
    seen = set()
    for one in events(file):
        EVENT.validate(one)
        seen.add(one["type"])
        if one["type"] == "emit" and not file.stem.startswith("plain"):
            Draft202012Validator(FRAMEWORK_EVENTS[one["data"]["name"]]).validate(
                one["data"].get("value")
            )
    assert {"status", "attempt.started", "effect.started", "effect"} <= seen
    tools = [
        one["data"] for one in events(file)
        if one["type"] == "effect" and one["data"].get("kind") == "tool"
        and one["data"]["state"] == "intent"
    ]  # fmt: skip
    assert tools
    assert all("arguments" in tool["value"] for tool in tools)
