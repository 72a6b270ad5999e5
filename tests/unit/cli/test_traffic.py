"""What ``perdure dev`` says of requests."""

from __future__ import annotations

import pytest

from perdure.cli.terminal.traffic import PrintedTraffic


def test_a_path_that_leads_nowhere_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    traffic = PrintedTraffic()
    traffic.answered("GET", "none", 404, 0.001)
    traffic.answered("POST", "/api/agents/{agent}/runs", 202, 0.001)
    traffic.answered("GET", "/api/runs", 200, 0.001)  # what the page asks all the time
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "404 GET a path that is no route" in lines[0]
    assert "202 POST /api/agents/{agent}/runs" in lines[1]
