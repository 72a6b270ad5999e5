"""A pool, its document and some workers, in one process: every change goes through JSON."""

from __future__ import annotations

import json

from perdure.core.admission.admit import admit
from perdure.core.admission.demand import Admitted, Demand, Later, Outcome, Usage
from perdure.core.admission.flight import Hand
from perdure.core.admission.limits import Pool
from perdure.core.admission.settle import beat, settle
from perdure.core.admission.state import State, decode, fresh

NOW = 1_800_000_000.0


class Place:
    """Documents of ``pools``, and workers by name."""

    def __init__(self, *pools: Pool, full: bool = False) -> None:
        self.pools = {pool.key: pool for pool in pools}
        self.bodies = {pool.key: json.dumps(fresh(pool, NOW, full=full).encode()) for pool in pools}
        self.hands: dict[str, Hand] = {}

    def states(self) -> dict[str, State]:
        return {key: decode(json.loads(self.bodies[key]), pool) for key, pool in self.pools.items()}

    def write(self, states: dict[str, State]) -> None:
        self.bodies = {key: json.dumps(state.encode()) for key, state in states.items()}

    def hand(self, worker: str) -> Hand:
        return self.hands.setdefault(worker, Hand(worker))

    def ask(self, *demands: Demand, at: float = 0.0, worker: str = "w") -> list[Admitted | Later]:
        """``at``: seconds after NOW."""
        states, hand = self.states(), self.hand(worker)
        answers = admit(states, hand, demands, NOW + at)
        self.write(states)
        for demand, answer in zip(demands, answers, strict=True):
            if isinstance(answer, Admitted):
                hand.start(demand, answer)
        return answers

    def one(self, demand: Demand, at: float = 0.0, worker: str = "w") -> Admitted | Later:
        return self.ask(demand, at=at, worker=worker)[0]

    def goes(self, demand: Demand, at: float = 0.0, worker: str = "w") -> Admitted:
        answer = self.one(demand, at, worker)
        assert isinstance(answer, Admitted), answer
        return answer

    def waits(self, demand: Demand, at: float = 0.0, worker: str = "w") -> Later:
        answer = self.one(demand, at, worker)
        assert isinstance(answer, Later), answer
        assert answer.at > NOW + at
        return answer

    def end(
        self,
        call: Demand,
        admitted: Admitted,
        usage: Usage | None,
        at: float,
        *,
        worker: str = "w",
        sent: bool = True,
    ) -> None:
        states, hand = self.states(), self.hand(worker)
        hand.end(call.id, usage.output if usage else None, sent=sent)
        took = NOW + at - admitted.at
        settle(states, hand, [Outcome(admitted, usage, sent, took)], NOW + at)
        self.write(states)

    def beat(self, at: float, worker: str = "w") -> None:
        states = self.states()
        beat(states, self.hand(worker), NOW + at)
        self.write(states)

    def used(self, at: float, pool: str = "p") -> list[int]:
        state = self.states()[pool]
        state.tend(NOW + at)
        return [meter.used for meter in state.meters]
