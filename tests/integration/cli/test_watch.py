"""``perdure runs watch``: one run to its end, the board of all, in pipes and on a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGINT

import pytest

from tests.integration.cli.program import WAIT, Place


class Screen:
    """A process on a pseudo terminal, and everything it wrote there."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self.text = ""

    def until(self, words: str) -> None:
        """Read on until it wrote ``words``."""
        end = time.monotonic() + WAIT
        while words not in self.text:
            assert select.select([self._master], [], [], max(end - time.monotonic(), 0))[0], (
                f"{words!r} did not come: {self.text}"
            )
            try:
                read = os.read(self._master, 65536)
            except OSError:  # Linux: the other end is closed
                read = b""
            assert read, f"{words!r} did not come: {self.text}"
            self.text += read.decode("utf-8", "replace")

    def ended(self) -> int:
        while select.select([self._master], [], [], WAIT)[0]:
            try:
                read = os.read(self._master, 65536)
            except OSError:
                break
            if not read:
                break
            self.text += read.decode("utf-8", "replace")
        return self.process.wait(WAIT)


@contextmanager
def screen(place: Place, *args: str, **env: str) -> Iterator[Screen]:
    clean = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith("PERDURE_") and k not in ("NO_COLOR", "FORCE_COLOR")
    }
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "perdure", *args],
        cwd=place.folder,
        env={**clean, "TERM": "xterm-256color", **env},
        stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    try:
        yield Screen(process, master)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(WAIT)
        os.close(master)


def test_a_run_is_a_tree_that_moves_on_a_terminal(place: Place) -> None:
    with screen(place, "run", "agents.py:app", "--agent", "three", "hi") as shown:
        shown.until("running")
        shown.until("\x1b[")
        place.open("1", "2", "3")
        shown.until("succeeded")
        assert shown.ended() == 0
    assert "gated" in shown.text
    assert '"steps"' in shown.text


def test_no_color_means_none(place: Place) -> None:
    place.open("1", "2", "3")
    args = ("run", "agents.py:app", "--agent", "three", "hi")
    with screen(place, *args, NO_COLOR="1") as shown:
        assert shown.ended() == 0
    assert "\x1b[3" not in shown.text
    assert "gated" in shown.text


def test_colours_can_be_forced_into_a_pipe_and_nothing_moves_there(place: Place) -> None:
    place.open("1", "2", "3")
    args = ("run", "agents.py:app", "--agent", "three", "hi", "--follow")
    code, _, err = place.run(*args, env={"FORCE_COLOR": "1"})
    assert code == 0
    assert "\x1b[32m" in err
    # No cursor is moved or hidden, and no line is written over.
    assert not [move for move in ("\x1b[2K", "\x1b[1A", "\x1b[?25") if move in err]
    code, _, err = place.run(*args)
    assert "\x1b" not in err


def test_watch_follows_a_run_to_its_end(place: Place) -> None:
    place.run("run", "agents.py:app", "--agent", "child", "x")
    run_id = place.only_run()["id"]
    code, out, err = place.run("runs", "watch", run_id)
    assert (code, out) == (0, "child of x")
    assert f"Run {run_id} of child" in err
    assert "succeeded" in err


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_in_a_pipe_the_board_is_a_line_for_each_change(place: Place, form: tuple[str, ...]) -> None:
    with place.start("run", "agents.py:app", "--agent", "three", "hi", "--follow") as runner:
        runner.until("in step 1")
        with place.start("runs", "watch", *form) as board:
            board.until("running")
            place.open("1", "2", "3")
            board.until("succeeded")
            board.tell(SIGINT)
            assert board.ended() == 0
        assert runner.ended() == 0


def test_a_board_in_a_pipe_says_that_there_is_nothing_to_see(place: Place) -> None:
    place.run("run", "agents.py:app", "--agent", "child", "x")
    with place.start("runs", "watch", "--agent", "child") as board:
        board.until("No unfinished runs of child; waiting for some.")
        board.tell(SIGINT)
        assert board.ended() == 0


def test_the_first_use_of_a_store_is_no_line_of_a_log(place: Place) -> None:
    code, _, err = place.run("run", "agents.py:app", "--agent", "child", "x")
    assert (code, err) == (0, "")


def test_the_board_on_a_terminal(place: Place) -> None:
    with place.start("run", "agents.py:app", "--agent", "three", "hi", "--follow") as runner:
        runner.until("in step 1")
        with screen(place, "runs", "watch") as board:
            board.until("1 running")
            board.until("three")
            place.open("1", "2", "3")
            board.until("1 succeeded")
            board.process.send_signal(signal.SIGINT)
            assert board.ended() == 0
        assert "\x1b[?1049l" in board.text  # the screen before it is back
        assert runner.ended() == 0


def test_watching_what_is_not_there_is_an_error(place: Place) -> None:
    place.run("run", "agents.py:app", "--agent", "child", "x")
    code, _, err = place.run("runs", "watch", "01a1fe88-4040-7314-b2de-91c863d284ba")
    assert code == 4
    assert "hint" in err or "no run" in err.lower()
