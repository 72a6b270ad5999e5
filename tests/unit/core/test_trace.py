"""W3C trace context."""

from __future__ import annotations

import pytest

from perdure.core.trace import accepted, onward, run_of, trace_id
from perdure.store.ids import new_run_id

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_traceparent_is_kept_as_it_is() -> None:
    assert accepted(GIVEN) == GIVEN
    assert accepted(f" {GIVEN} ") == GIVEN


def test_what_a_later_version_adds_is_left_out() -> None:
    assert accepted("cc" + GIVEN[2:] + "-what-comes") == "cc" + GIVEN[2:]


@pytest.mark.parametrize(
    "header",
    [
        None, "", "x", GIVEN.upper(), GIVEN[:-1], GIVEN + "0", GIVEN + "-more", "ff" + GIVEN[2:],
        f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
    ],
)  # fmt: skip
def test_what_is_none_is_ignored(header: str | None) -> None:
    assert accepted(header) is None


def test_a_run_without_one_is_its_own_trace() -> None:
    run = new_run_id()
    assert trace_id(run, None) == run.replace("-", "")
    assert run_of(trace_id(run, None)) == run
    assert trace_id(run, GIVEN) == "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize("given", [None, GIVEN, GIVEN[:-2] + "00"])
def test_what_a_run_hands_on_stays_in_its_trace(given: str | None) -> None:
    run = new_run_id()
    handed = onward(run, given)
    assert accepted(handed) == handed
    assert trace_id(new_run_id(), handed) == trace_id(run, given)
    assert handed.endswith("-00") == (given is not None and given.endswith("-00"))
