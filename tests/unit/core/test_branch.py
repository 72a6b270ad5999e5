"""Names of branches (K3)."""

from __future__ import annotations

import pytest

from perdure.core.branch import child, continues, stable, under


def test_children_are_numbered_below_their_parent() -> None:
    assert child("", 0) == "/0"
    assert child("/0", 2) == "/0/2"
    assert child("node", "tool-7") == "node/tool-7"


@pytest.mark.parametrize(
    ("path", "name"),
    [("", ""), ("/0", "/*"), ("/0/12", "/*/*"), ("agent/3", "agent/*"), ("node#4", "node#4"),
     ("node#4/0", "node#4/*"), ("call_7", "call_7")],
)  # fmt: skip
def test_indexes_by_arrival_are_left_out_of_stable_names(path: str, name: str) -> None:
    """K3: siblings who come in another order are still recognised."""
    assert stable(path) == name


@pytest.mark.parametrize(
    ("later", "earlier", "known"),
    [
        ("", "", True),
        ("/0", "/0", True),
        ("", "/0/1", True),  # joined it
        ("/0", "/0/1", True),
        ("/0/1", "/0", False),  # it is what was forked, and says nothing
        ("/1", "/0", False),
        ("/0", "/1", False),
        ("/10", "/1", False),  # no prefix by characters
        ("node#2", "node#1", True),  # a later round of the same place
        ("node#1", "node#2", False),
        ("node#2/0", "node#1/3", True),
        ("a#2", "b#1", False),
        ("x/node#10", "x/node#9/tool", True),
    ],
)
def test_who_goes_on_with_the_knowledge_of_whose_end(later: str, earlier: str, known: bool) -> None:
    """F1."""
    assert continues(later, earlier) is known


def test_under() -> None:
    assert under("/0/1", "/0")
    assert under("/0", "")
    assert not under("/01", "/0")
