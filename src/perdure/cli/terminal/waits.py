"""What a parked run waits for, and what someone can do about it, as lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from perdure.cli.diagnosis.waits import of_wait, of_waits


def explain(wait: Mapping[str, Any], run_id: str, *, alone: bool = True) -> list[str]:
    """A line that says what it waits for, then what ends the wait; commands are indented.
    ``alone``: an operator's answer needs no key, since nothing else waits for one."""
    return of_wait(wait, run_id, alone=alone).lines()


def explain_all(waits: Iterable[Mapping[str, Any]], run_id: str) -> Iterator[tuple[bool, str]]:
    """(is it the first line of a wait, line) for all of them."""
    for finding in of_waits(waits, run_id):
        for i, line in enumerate(finding.lines()):
            yield i == 0, line
