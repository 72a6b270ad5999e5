"""Perdure beside other products, on this machine, in interleaved rounds.

    scripts/peers.sh .venv-peers
    python -m bench.peers [JOB ...] [--python .venv-peers/bin/python] [--only NAME ...]

Each measurement is a process of its own that starts what it needs, warms it up, measures and stops
it, on a new database of one PostgreSQL server with fsync and synchronous commit on; so
nobody's idle workers disturb another's round. How each does the job is in its file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.figure import Figure, Size, median, percentile, show
from bench.peers.task import Task
from bench.scene import ROOT
from tests.servers import PostgresServer, RedisServer

OWN = ("perdure", "group_commit", "listen_notify")  # in this environment
TITLES = {
    "absurd": "Absurd", "celery_redis": "Celery on Redis", "dbos": "DBOS",
    "group_commit": "bare group commit", "langgraph_saver": "LangGraph with its Postgres saver",
    "listen_notify": "LISTEN/NOTIFY alone", "perdure": "Perdure", "restate": "Restate",
}  # fmt: skip
BEST_PEER = 10.0
OF_LIMIT = 1 / 8
CELERY = 10.0
OF_NOTIFY = 4.0


@dataclass(frozen=True, slots=True)
class Job:
    """Who does it, and how much of it."""

    name: str
    contenders: tuple[str, ...]
    runs: tuple[int, int]  # full, quick
    at_once: tuple[int, int] = (1, 1)
    steps: int = 0


JOBS = {
    job.name: job
    for job in (
        Job(
            "steps", ("group_commit", "perdure", "restate", "absurd", "langgraph_saver", "dbos"),
            (2000, 20), (200, 20), 20,
        ),
        Job("queue", ("celery_redis", "perdure"), (5000, 200)),
        Job(
            "latency", ("listen_notify", "perdure", "celery_redis", "restate", "absurd", "dbos"),
            (200, 10),
        ),
    )
}  # fmt: skip


class Failed(Exception):
    """A contender could not do its job."""


class Field:
    """The servers, and whoever competes on them."""

    def __init__(self, python: str, postgres: PostgresServer, redis: RedisServer) -> None:
        self._python = python
        self._postgres = postgres
        self._redis = redis

    def measure(self, name: str, job: Job, size: Size) -> dict[str, Any]:
        """One contender's answer. Raises Failed."""
        database = self._postgres.create_database()
        with tempfile.TemporaryDirectory() as folder:
            task = Task(
                job=job.name, dsn=self._postgres.dsn(database), folder=folder,
                redis=self._redis.url, runs=size.of(*job.runs), at_once=size.of(*job.at_once),
                steps=job.steps,
            )  # fmt: skip
            python = sys.executable if name in OWN else self._python
            try:
                ran = subprocess.run(
                    [python, "-m", f"bench.peers.{name}", json.dumps(asdict(task))],
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                    timeout=900,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise Failed(f"{name} did not finish {job.name} in 900 s") from None
        self._postgres.psql(f"drop database {database} with (force)")
        lines = ran.stdout.strip().splitlines()
        if ran.returncode or not lines:
            raise Failed(f"{name} failed at {job.name}:\n{ran.stderr[-3000:]}")
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer


def compete(field: Field, job: Job, size: Size, only: Sequence[str]) -> list[Figure]:
    """Interleaved rounds of everybody who can."""
    answers: dict[str, list[dict[str, Any]]] = {}
    out: set[str] = set()
    for i in range(size.repeat):
        for name in job.contenders:
            if name in out or (only and name not in only):
                continue
            try:
                answer = field.measure(name, job, size)
            except Failed as error:
                print(error, file=sys.stderr)
                out.add(name)
                continue
            answers.setdefault(name, []).append(answer)
            print(f"{job.name} {i + 1}/{size.repeat} {name}: {_said(answer)}", file=sys.stderr)
    figures = [_absolute(job, name, said) for name, said in answers.items()]
    return figures + _ratios(job, answers)


def _number(answer: dict[str, Any]) -> float:
    """A rate, or the median time in milliseconds."""
    if answer["rate"] is not None:
        return float(answer["rate"])
    return percentile(answer["times"], 0.5) * 1e3


def _said(answer: dict[str, Any]) -> str:
    unit = "/s" if answer["rate"] is not None else " ms"
    return f"{_number(answer):,.1f}{unit} ({answer['how']})"


def _absolute(job: Job, name: str, answers: list[dict[str, Any]]) -> Figure:
    unit = {"steps": "steps/s", "queue": "runs/s", "latency": "ms"}[job.name]
    value = median(_number(answer) for answer in answers)
    how = answers[0]["how"]
    if job.name == "latency":
        times = [time for answer in answers for time in answer["times"]]
        how = f"p99 {percentile(times, 0.99) * 1e3:,.1f} ms; {how}"
    return Figure(f"{job.name} beside", TITLES[name], value, unit, beside=how)


def _ratios(job: Job, answers: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    """Of the medians: rounds of one contender do not pair with another's."""
    numbers = {name: median(_number(one) for one in said) for name, said in answers.items()}
    mine = numbers.get("perdure")
    if mine is None:
        return []
    subject = f"{job.name} beside"
    found: list[Figure] = []
    if job.name == "steps":
        peers = {name: rate for name, rate in numbers.items() if name not in OWN}
        if peers:
            best = max(peers, key=lambda name: peers[name])
            what = f"Perdure over the best peer ({TITLES[best]})"
            found.append(Figure(subject, what, mine / peers[best], "x", BEST_PEER, True))
        if "group_commit" in numbers:
            share = mine / numbers["group_commit"]
            found.append(Figure(subject, "Perdure of the limit", share, "", OF_LIMIT, True))
    elif job.name == "queue" and "celery_redis" in numbers:
        ratio = mine / numbers["celery_redis"]
        found.append(Figure(subject, "Perdure over Celery", ratio, "x", CELERY, True))
    elif job.name == "latency" and "listen_notify" in numbers:
        ratio = mine / numbers["listen_notify"]
        found.append(Figure(subject, "Perdure over LISTEN/NOTIFY", ratio, "x", OF_NOTIFY))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("jobs", metavar="JOB", nargs="*", help=f"of: {', '.join(JOBS)}")
    parser.add_argument("--python", default=str(ROOT / ".venv-peers" / "bin" / "python"))
    parser.add_argument("--only", nargs="+", default=[], help="these contenders")
    parser.add_argument("--repeat", type=int, default=5, help="interleaved rounds (5)")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    unknown = sorted(set(options.jobs) - set(JOBS))
    if unknown:
        parser.error(f"there is no job {unknown[0]!r}; there are: {', '.join(JOBS)}")
    size = Size(options.repeat, options.quick)
    figures: list[Figure] = []
    with PostgresServer(durable=True) as postgres, RedisServer() as redis:
        field = Field(options.python, postgres, redis)
        for name in options.jobs or JOBS:
            figures += compete(field, JOBS[name], size, options.only)
    if options.json:
        print(json.dumps([figure.to_dict() for figure in figures], indent=1))
    else:
        show(figures)


if __name__ == "__main__":
    main()
