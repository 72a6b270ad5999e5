"""What MCP servers say of their tools, in the words of both versions of the library."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest

from perdure.core.record import Promise
from perdure.frameworks.promises import hinted


class Renamed:
    """What keeps old code alive: version 2's names, and the old ones with a warning."""

    def __init__(self, **hints: bool) -> None:
        self.read_only_hint = hints.get("read_only_hint")
        self.idempotent_hint = hints.get("idempotent_hint")

    @property
    def readOnlyHint(self) -> bool | None:
        warnings.warn("deprecated", DeprecationWarning, stacklevel=2)
        return self.read_only_hint


@pytest.mark.parametrize(
    ("annotations", "promise"),
    [
        ({"readOnlyHint": True}, Promise.READS),
        ({"idempotent_hint": True}, Promise.IDEMPOTENT),
        (SimpleNamespace(readOnlyHint=True), Promise.READS),
        (SimpleNamespace(readOnlyHint=False, idempotentHint=True), Promise.IDEMPOTENT),
        (Renamed(read_only_hint=True), Promise.READS),
        (Renamed(idempotent_hint=True), Promise.IDEMPOTENT),
        (Renamed(), Promise.UNDECLARED),
        (None, Promise.UNDECLARED),
    ],
)
def test_either_name_counts_and_the_old_one_is_not_asked_in_vain(
    annotations: object, promise: Promise
) -> None:
    assert hinted(annotations) is promise
