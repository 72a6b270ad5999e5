"""One thing that holds a run, and what can be done about it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Step(NamedTuple):
    """``command`` is to be pasted; ``when`` says in which case, where there are several."""

    command: str
    when: str = ""


class Finding(NamedTuple):
    """``says`` is one line."""

    says: str
    steps: tuple[Step, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "says": self.says,
            "steps": [{"command": step.command, "when": step.when} for step in self.steps],
        }

    def lines(self) -> list[str]:
        """For people: commands are indented below what they are for."""
        found = [self.says]
        for step in self.steps:
            if step.when:
                found.append(f"{step.when}:")
            found.append(f"  {step.command}")
        return found
