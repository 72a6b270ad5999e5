"""``perdure worker``: draining, stopping, and taking over."""

from __future__ import annotations

from signal import SIGKILL, SIGTERM

from tests.integration.cli.program import Place, Program

EVERY_STEP_ONCE = ["step 1", "step 2", "step 3"]


def start(place: Place, *options: str) -> Program:
    """A worker that has joined."""
    worker = place.start("worker", "agents.py:app", *options)
    worker.until("is ready")
    return worker


def test_sigterm_lets_the_effect_in_flight_finish_and_the_next_worker_goes_on(
    place: Place,
) -> None:
    place.open("1")
    with start(place) as worker, place.start("run", "three", "hi") as caller:
        worker.until("in step 2")
        worker.tell(SIGTERM)
        worker.until("Draining")
        place.open("2", "3")
        assert worker.ended() == 0
        assert place.only_run()["state"] == "queued"
        with start(place):
            assert caller.ended() == 0
    assert place.calls == EVERY_STEP_ONCE


def test_the_drain_time_bounds_what_an_effect_may_take(place: Place) -> None:
    with start(place, "--drain", "200ms") as worker, place.start("run", "three", "hi"):
        worker.until("in step 1")
        worker.tell(SIGTERM)
        assert worker.ended() == 0
        assert place.only_run()["state"] in ("queued", "waiting")


def test_a_second_sigterm_ends_it_at_once(place: Place) -> None:
    with start(place) as worker, place.start("run", "three", "hi"):
        worker.until("in step 1")
        worker.tell(SIGTERM)
        worker.until("Draining")
        worker.tell(SIGTERM)
        assert worker.ended() == 143
        # What it leased was given back: nobody has to wait for its lease to run out.
        assert place.only_run()["state"] == "queued"


def test_kill_9_is_noticed_and_another_worker_goes_on(place: Place) -> None:
    place.open("1")
    with (
        start(place) as first,
        start(place) as second,
        place.start("run", "three", "hi") as caller,
    ):
        first_has_it = _owner(place) == str(first.process.pid)
        owner, other = (first, second) if first_has_it else (second, first)
        owner.until("in step 2")
        owner.tell(SIGKILL)
        owner.ended()
        place.open("2", "3")
        other.until("in step 3")
        assert caller.ended() == 0
    assert place.calls == ["step 1", "step 2", "step 2", "step 3"]


def test_max_attempt_makes_a_run_hop_between_steps(place: Place) -> None:
    place.open("1", "2", "3")
    with start(place, "--max-attempt", "1ms"):
        run = place.json("run", "three", "hi", "--json")
    assert run["state"] == "succeeded"
    assert run["epoch"] > 1
    assert run["attempts"] == 0
    assert place.calls == EVERY_STEP_ONCE


def _owner(place: Place) -> str:
    """The pid of the worker that has the run, once one has."""
    while True:
        runs = place.json("runs", "list", "--json")["runs"]
        if runs and runs[0]["worker"]:
            return str(runs[0]["worker"]).rsplit("-", 2)[1]
