"""A judge of one's own: a command that reads a question and its answer and prints a score.

It gets one JSON object on stdin: ``{"id", "request", "expect", "target", "answer"}``, and prints a
number from 0 to 1.
"""

from __future__ import annotations

import asyncio
import shlex
from asyncio.subprocess import PIPE

import orjson

from perdure.cli.drill.questions import Question
from perdure.errors import UsageError

PATIENCE_S = 120.0
SHOWN = 300  # characters of what it said instead of a number


class Judge:
    """``command`` is split as a shell does, and run without one. Raises UsageError."""

    def __init__(self, command: str) -> None:
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise UsageError(f"--judge {command!r} is no command: {error}") from None
        if not self._command:
            raise UsageError("--judge is empty.")

    async def score(self, question: Question, target: str, answer: str) -> float:
        """0 to 1. Raises UsageError where the judge gives none: nothing is scored by half."""
        asked = {
            "id": question.id,
            "request": question.fields,
            "expect": question.expect,
            "target": target,
            "answer": answer,
        }
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, stderr=PIPE
            )
        except OSError as error:
            raise UsageError(f"The judge {self._command[0]!r} cannot be run: {error}") from None
        try:
            async with asyncio.timeout(PATIENCE_S):
                out, err = await process.communicate(orjson.dumps(asked))
        except TimeoutError:
            raise UsageError(
                f"The judge did not decide about {question.id!r} in {PATIENCE_S:g} s."
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        said = out.decode("utf-8", "replace").strip()
        try:
            value = float(said)
        except ValueError:
            value = -1.0
        if process.returncode or not 0 <= value <= 1:
            words = (said or err.decode("utf-8", "replace").strip())[:SHOWN]
            raise UsageError(
                f"The judge gave no score for {question.id!r}: exit code {process.returncode}, "
                f"{words!r}.",
                hint="It has to print a number from 0 to 1.",
            )
        return value
