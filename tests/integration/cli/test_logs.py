"""Log lines of a real worker, for machines: every one is JSON, and says which run it is about."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.integration.cli.program import Place

AGENT = """
import asyncio, logging, threading
import perdure

log = logging.getLogger("booking")

@perdure.tool
async def book(seat: str) -> str:
    log.info("booking %s", seat)
    await asyncio.to_thread(log.warning, "in a thread", extra={"seat": seat})
    return seat

async def clerk(text: str) -> str:
    log.info("begins")
    log.debug("nobody wants to know")
    return await book(text)
"""


def test_every_line_is_json_and_knows_its_run(place: Place) -> None:
    (place.folder / "booking.py").write_text(AGENT)
    (place.folder / "perdure.toml").write_text('[log]\nformat = "json"\nothers = "info"\n')
    with place.start("worker", "booking.py:clerk") as worker:
        worker.until("is ready")
        code, out, err = place.run("run", "clerk", "4A", "--json")
        assert code == 0, err
        run = json.loads(out)
        worker.tell(signal.SIGTERM)
        assert worker.ended() == 0
    lines = [json.loads(line) for line in worker.err]
    assert worker.out == []
    by_text = {line["message"]: line for line in lines}
    begins, booking, threaded = (by_text[m] for m in ("begins", "booking 4A", "in a thread"))
    assert {line["run_id"] for line in (begins, booking, threaded)} == {run["id"]}
    assert (begins["logger"], begins["agent"], begins["attempt"]) == ("booking", "clerk", 1)
    assert "effect" not in begins
    assert (booking["effect_kind"], booking["effect_name"]) == ("tool", "book")
    assert threaded["effect"] == booking["effect"]
    assert threaded["extra"] == {"seat": "4A"}
    assert run["trace_id"] == begins["trace_id"]
    assert "nobody wants to know" not in by_text
    assert any("is ready" in message for message in by_text)


def test_a_wrong_format_is_told_before_anything_begins(place: Place, tmp_path: Path) -> None:
    code, _, err = place.run("run", "agents.py:approved", "x", env={"PERDURE_LOG_FORMAT": "xml"})
    assert code == 2
    assert "log.format = 'xml' is no format." in err
    assert "text, json" in err
