"""The demo from its beginning to its figures: sets the scene, plays both sides at the same time,
and leaves nothing behind, whatever happens."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path

from perdure.demo.corpus import Corpus
from perdure.demo.durable import DurableSide
from perdure.demo.figures import Figures, measure
from perdure.demo.plain import PlainSide
from perdure.demo.provider import Provider
from perdure.demo.screen import Screen
from perdure.demo.side import Scene
from perdure.errors import UsageError


async def race(
    corpus: Corpus,
    provider: Provider,
    screen: Screen,
    *,
    kill_at: int,
    environ: Mapping[str, str],
    folder: Path,
) -> Figures:
    """Both sides in ``folder``. Raises UsageError where the job is too short for ``kill_at``,
    DemoFailed where a part of it breaks."""
    scene = Scene(folder, len(corpus.documents), provider, kill_at, environ)
    if not 1 <= kill_at <= scene.calls:
        raise UsageError(
            f"--kill-at {kill_at}: the agent makes {scene.calls} model calls over "
            f"{scene.documents} documents.",
            hint=f"Say a number from 1 to {scene.calls}, or give more documents.",
        )
    corpus.write(folder / "documents")
    with as_file(files("perdure.demo") / "agent.py") as agent:
        shutil.copy(agent, folder / "agent.py")
    plain = PlainSide(scene, screen.say, screen.changed)
    durable = DurableSide(scene, screen.say, screen.changed)
    sides = (plain, durable)
    try:
        for side in sides:
            await side.meter.start()
        screen.open(sides)
        async with asyncio.TaskGroup() as group:
            for side in sides:
                group.create_task(side.play())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        # Shielded: a second Ctrl-C must not leave workers behind.
        await asyncio.shield(asyncio.gather(*(side.close() for side in sides)))
        screen.close()
    return measure(plain, durable)


class Workplace:
    """A folder of its own, removed at the end unless it is to be kept."""

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self.path = Path(tempfile.mkdtemp(prefix="perdure-demo-")).resolve()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *failure: object) -> None:
        if not self._keep:
            shutil.rmtree(self.path, ignore_errors=True)


def end_on_sigterm() -> None:
    """SIGTERM ends the demo as Ctrl-C does: children first."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
