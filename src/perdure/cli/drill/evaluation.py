"""An eval set through a route's first target and through its fallbacks, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from perdure.cli.drill.asking import Asking, Way, asking
from perdure.cli.drill.judge import Judge
from perdure.cli.drill.questions import Question, score
from perdure.cli.drill.sides import Bars, Check, Side, judge, passed
from perdure.config import Config
from perdure.core.charge import NANO
from perdure.core.routing import Route, Target
from perdure.store import Store

SHOWN = 2000  # characters of an answer that are kept for whoever looks


@dataclass(frozen=True, slots=True)
class Scored:
    """One answer of one target. ``problem``: why there is none."""

    id: str
    target: str
    score: float
    took_ms: int
    cost: int
    answer: str
    problem: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "target": self.target,
            "score": self.score,
            "took_ms": self.took_ms,
            "cost_usd": self.cost / NANO,
            "answer": self.answer or None,
            "problem": self.problem or None,
        }


@dataclass(slots=True)
class Evaluation:
    """``sides``: the primary first. It grows as answers come."""

    questions: int
    sides: list[Side]
    answers: list[Scored] = field(default_factory=list)

    def checks(self, bars: Bars) -> dict[str, tuple[Check, ...]]:
        """Those of each fallback, by its name."""
        primary, *others = self.sides
        return {side.target: judge(side, primary, bars) for side in others}

    def passed(self, bars: Bars) -> bool:
        """Whether each fallback can stand in."""
        return all(passed(checks) for checks in self.checks(bars).values())

    def to_dict(self, bars: Bars) -> dict[str, Any]:
        checks = self.checks(bars)
        return {
            "questions": self.questions,
            "sides": [side.to_dict() for side in self.sides],
            "checks": [
                {"target": name, **check.to_dict()}
                for name, found in checks.items()
                for check in found
            ],
            "answers": [one.to_dict() for one in self.answers],
        }


async def evaluate(
    config: Config,
    store: Store,
    route: Route,
    targets: Sequence[Target],
    how: Way,
    questions: Sequence[Question],
    *,
    judge: Judge | None,
    concurrency: int,
    made: Evaluation,
    told: Callable[[Scored], None],
) -> None:
    """Ask all ``targets`` (the primary first) all ``questions``, at most ``concurrency`` at a time
    each, so that none is measured under more load than another. ``made`` is filled on the way.
    Raises UsageError where the judge fails."""
    async with AsyncExitStack() as stack:
        askers = [
            await stack.enter_async_context(asking(config, store, route, target, how))
            for target in targets
        ]
        async with asyncio.TaskGroup() as group:
            for asker, target, side in zip(askers, targets, made.sides, strict=True):
                waiting = iter(questions)
                for _ in range(min(concurrency, len(questions))):
                    group.create_task(_ask(asker, target, side, waiting, judge, made, told))


async def _ask(
    asker: Asking,
    target: Target,
    side: Side,
    waiting: Any,
    judge: Judge | None,
    made: Evaluation,
    told: Callable[[Scored], None],
) -> None:
    for question in waiting:
        said = await asker.ask(question.fields)
        for row in said.rows:
            side.add(row)
        if not said.rows:
            side.calls += 1  # refused before it was sent: by a budget, a kill switch
        worth = 0.0
        if not said.problem:
            worth = (
                score(question.expect, said.text)
                if judge is None
                else await judge.score(question, target.name, said.text)
            )
        side.scores.append(worth)
        one = Scored(
            question.id, target.name, worth, sum(row.took_ms for row in said.rows),
            sum(row.cost for row in said.rows), said.text[:SHOWN], said.problem,
        )  # fmt: skip
        made.answers.append(one)
        told(one)
