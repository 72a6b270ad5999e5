"""Names of runs."""

from __future__ import annotations

from uuid import UUID

from perdure.store.ids import new_run_id


def test_ids_are_version_7_and_begin_with_the_time() -> None:
    first, second = new_run_id(), new_run_id()
    assert first != second
    for one in map(UUID, (first, second)):
        assert (one.version, one.variant) == (7, "specified in RFC 4122")
    assert UUID(first).int >> 80 <= UUID(second).int >> 80
