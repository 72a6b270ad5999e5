"""Proof that a process has ended."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from perdure.store import birth

pytestmark = pytest.mark.skipif(not birth.mine(), reason="this system has no /proc")


def test_a_living_process_is_not_said_to_have_ended() -> None:
    assert not birth.ended(birth.mine(), os.getpid())


def test_a_process_has_ended_when_it_was_killed_even_before_it_is_reaped() -> None:
    code = "from perdure.store import birth; print(birth.mine(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        born = child.stdout.readline().strip()
        assert not birth.ended(born, child.pid)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert birth.ended(born, child.pid)
    assert birth.ended(born, child.pid)


def test_another_processs_pid_proves_that_its_first_owner_has_ended() -> None:
    here, _, started = birth.mine().rpartition("/")
    assert birth.ended(f"{here}/{int(started) + 1}", os.getpid())


@pytest.mark.parametrize("born", ["", "elsewhere/pid:[1]/42"])
def test_of_other_places_nothing_can_be_said(born: str) -> None:
    assert not birth.ended(born, 2**22 + 1)
