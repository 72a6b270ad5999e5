"""``perdure drill failover``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perdure.cli import options

if TYPE_CHECKING:
    from datetime import timedelta

    from perdure.cli.drill.asking import Way
    from perdure.cli.drill.judge import Judge
    from perdure.cli.drill.questions import Question
    from perdure.cli.drill.sides import Bars
    from perdure.config import Config
    from perdure.core.routing import Route, Target

FAILED = 1  # exit code
EVERY_S = 1.0  # how often the ledger is looked at
LOAD = 20  # times what a look took: the least pause after it


@click.command("failover")
@click.option("--route", "name", metavar="NAME", help="Which route, where there are several.")
@click.option("--target", metavar="NAME", help="Only this fallback (all; for traffic the first).")
@click.option(
    "--percent",
    type=click.FloatRange(0, 100, min_open=True),
    metavar="N",
    help="This share of real traffic goes to the fallback first.",
)
@click.option("--for", "length", default="10m", metavar="TIME", help="For so long (10m).")
@click.option("--eval", "file", type=options.FILE, metavar="FILE", help="Questions, as JSON lines.")
@click.option("--judge", metavar="COMMAND", help="Scores answers: a question in, a number out.")
@click.option("--model", metavar="NAME", help="The model to ask for (the route's).")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["anthropic", "chat", "responses"]),
    help="The API to ask by (the route's).",
)
@click.option(
    "--concurrency", type=click.IntRange(1, 256), default=4, help="Questions at a time (4)."
)
@click.option(
    "--min-success", type=click.FloatRange(0, 1), default=0.99, help="Share answered (0.99)."
)
@click.option(
    "--max-latency-ratio",
    type=click.FloatRange(0, min_open=True),
    default=3.0,
    help="Of the 95th percentiles, beside the primary (3).",
)
@click.option(
    "--max-cost-ratio",
    type=click.FloatRange(0, min_open=True),
    default=2.0,
    help="Of an answer's cost, beside the primary (2).",
)
@click.option(
    "--min-quality",
    type=click.FloatRange(0, min_open=False),
    default=0.9,
    help="Of the scores, beside the primary (0.9).",
)
@options.as_json
@options.settings
def command(
    name: str | None,
    target: str | None,
    percent: float | None,
    length: str,
    file: Path | None,
    judge: str | None,
    model: str | None,
    format_: str | None,
    concurrency: int,
    min_success: float,
    max_latency_ratio: float,
    max_cost_ratio: float,
    min_quality: float,
    json_: bool,
    store: str | None,
    config_file: Path | None,
) -> int:
    """What the fallbacks of a route would do, before they have to.

    With --eval each target of the route is asked the questions of a file, by the same limits and
    budgets as agents, and its answers are scored; the ledger has them under the feature "drill". A
    line is {"input" or "messages", "expect", "id", ...}; expect is a text, {"contains": [...]},
    {"regex": ...} or {"json_schema": {...}}. A --judge gets {"id", "request", "expect", "target",
    "answer"} on stdin and prints a number from 0 to 1.

    With --percent that share of the route's runs goes to the fallback first, on every worker of the
    store, for a while; where it fails, the route's other targets answer as ever. Both sides are
    compared out of the ledger. With both, traffic follows where the answers were good enough.

    The exit code is 0 where every fallback passed, else 1. Ctrl-C ends a drill, and so does time.
    --json prints {"route", "verdict": "pass", "fail" or "stopped", "eval", "traffic"}.
    """
    from perdure.cli.drill.asking import way
    from perdure.cli.drill.judge import Judge
    from perdure.cli.drill.questions import read
    from perdure.cli.drill.sides import Bars

    if percent is None and file is None:
        raise click.UsageError("Nothing to drill with: say --percent N, --eval FILE, or both.")
    if judge is not None and file is None:
        raise click.UsageError("--judge scores the answers of an eval set: --eval FILE.")
    config = options.load(config_file, store)
    route = _route(config, name)
    fallbacks = _fallbacks(route, target)
    within = options.duration(length, "--for")
    assert within is not None
    if within.total_seconds() <= 0:
        raise click.UsageError("--for has to be longer than nothing.")
    questions, how = None, None
    if file is not None:
        questions, how = read(file, judged=judge is not None), way(route, format_, model)
    bars = Bars(min_success, max_latency_ratio, max_cost_ratio, min_quality)
    return _carry_out(
        config, route, fallbacks, percent, within, questions, how,
        Judge(judge) if judge is not None else None, concurrency, bars, json_=json_,
    )  # fmt: skip


def _route(config: Config, name: str | None) -> Route:
    from perdure.core.routing import named
    from perdure.errors import NotFound, UsageError

    names = ", ".join(route.name for route in config.routes)
    if name is not None:
        route = named(config.routes, name)
        if route is None:
            raise NotFound(f"There is no route {name!r}.", hint=f"Routes: {names or 'none'}")
    else:
        several = [route for route in config.routes if len(route.targets) > 1]
        if len(several) != 1:
            raise UsageError(
                "No route has a fallback." if not several else "Which route is to be drilled?",
                hint=f"--route NAME; routes: {names}" if several else "See [[routes]].",
            )
        (route,) = several
    if len(route.targets) < 2:
        raise UsageError(f"The route {route.name!r} has one target, and so no fallback.")
    return route


def _fallbacks(route: Route, name: str | None) -> tuple[Target, ...]:
    from perdure.errors import NotFound

    if name is None:
        return route.targets[1:]
    found = tuple(target for target in route.targets[1:] if target.name == name)
    if not found:
        names = ", ".join(target.name for target in route.targets[1:])
        raise NotFound(
            f"{name!r} is no fallback of the route {route.name!r}.", hint=f"Fallbacks: {names}"
        )
    return found


def _carry_out(
    config: Config,
    route: Route,
    fallbacks: tuple[Target, ...],
    percent: float | None,
    length: timedelta,
    questions: list[Question] | None,
    how: Way | None,
    judge: Judge | None,
    concurrency: int,
    bars: Bars,
    *,
    json_: bool,
) -> int:
    import asyncio
    import getpass
    import os
    import socket
    from time import monotonic

    from perdure.cli import process
    from perdure.cli.drill import traffic
    from perdure.cli.drill.evaluation import Evaluation, evaluate
    from perdure.cli.drill.sides import Side
    from perdure.cli.terminal import output
    from perdure.cli.terminal.drills import Telling, print_evaluation, print_traffic, print_verdict

    process.prepare(config, shown=True)
    made: Evaluation | None = None
    seen: traffic.Traffic | None = None
    telling = Telling()

    async def work(store: Any) -> None:
        nonlocal made, seen
        if questions is not None and how is not None:
            asked = (route.targets[0], *fallbacks)
            made = Evaluation(len(questions), [Side(target.name) for target in asked])
            with telling.evaluation(made):
                await evaluate(
                    config, store, route, asked, how, questions, judge=judge,
                    concurrency=concurrency, made=made, told=lambda one: telling.told(),
                )  # fmt: skip
            if not json_:
                print_evaluation(made, bars)
            if not made.passed(bars):
                return  # no real call for a fallback that is not good enough
        if percent is not None:
            by = f"{getpass.getuser()}@{socket.gethostname()}"
            begun = await traffic.begin(
                store, os.urandom(6).hex(), route.name, fallbacks[0].name, percent, length, by
            )
            try:
                with telling.traffic(begun):
                    while True:
                        started = monotonic()
                        seen = await traffic.look(store, begun)
                        took = monotonic() - started
                        telling.seen(seen)
                        now = (await store.now()).timestamp()
                        if now >= begun.until or not await _goes_on(store, begun.id):
                            break
                        # Looking is no load that is worth speaking of, however much there is.
                        pause = max(EVERY_S, LOAD * took)
                        await asyncio.sleep(min(pause, max(begun.until - now, 0.05)))
            finally:
                await traffic.end(store, route.name, begun.id)
            seen = await traffic.look(store, begun)
            if not json_:
                print_traffic(seen, bars)

    async def _goes_on(store: Any, id: str) -> bool:
        return any(one.id == id for one in await traffic.known(store))

    async def main(stop: process.Stop) -> int:
        async with process.open_store(config, create=True) as opened:
            stop.listen()
            try:
                return stop.exit_code if await stop.unless(work(opened)) else 0
            except BaseExceptionGroup as group:  # several questions met the same trouble
                error: BaseException = group
                while isinstance(error, BaseExceptionGroup):
                    error = error.exceptions[0]
                raise error from None

    code = process.run_process(main)
    good = (made is None or made.passed(bars)) and (seen is None or seen.passed(bars))
    verdict = "stopped" if code else "pass" if good else "fail"
    if json_:
        output.document(
            {
                "route": route.name,
                "verdict": verdict,
                "eval": None if made is None else made.to_dict(bars),
                "traffic": None if seen is None else seen.to_dict(bars),
            }
        )
    else:
        if code and made is not None and seen is None:
            print_evaluation(made, bars)
        elif code and seen is not None:
            print_traffic(seen, bars)
        print_verdict(verdict)
    return code or (0 if good else FAILED)
