"""K5: a journal made with the oldest supported versions replays on those of this environment.

Every effect is answered, none is left over. The result may differ: frameworks add fields to their
messages from version to version.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compat.record import JOURNALS
from tests.faults.harness import FILES, ROOT

FILES_HERE = sorted(JOURNALS.glob("*.json"))


@pytest.mark.parametrize("file", FILES_HERE, ids=lambda file: file.stem)
def test_an_old_journal_replays(file: Path, tmp_path: Path) -> None:
    target = f"{ROOT}/tests/faults/{FILES[file.stem.partition('_')[0]]}:app"
    config = tmp_path / "perdure.toml"
    # The calls are answered by the journal; the hosts only have to be known.
    other = "google" if file.stem.startswith("adk") else "openai"
    config.write_text(
        f'[gateway.providers]\n"127.0.0.1:9" = "anthropic"\n"localhost:9" = "{other}"\n', "utf-8"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "perdure", "replay", str(file), target, "--json"],
        env={
            **os.environ,
            "PERDURE_CONFIG": str(config),
            "PYTHONPATH": str(ROOT),
            "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
            "ANTHROPIC_API_KEY": "sk-simulated",
            "OPENAI_BASE_URL": "http://localhost:9/v1",
            "OPENAI_API_KEY": "sk-simulated",
            "GOOGLE_API_KEY": "simulated",
            "GOOGLE_GEMINI_BASE_URL": "http://localhost:9",
            "TOOL_LOG": str(tmp_path / "tools.jsonl"),
            "LANGSMITH_TRACING": "false",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout, ran.stderr[-3000:]
    report = json.loads(ran.stdout)
    assert report["outcome"] == "returned", report
    assert report["answered"] >= 5
    # Nothing is left over and nothing is asked anew: a model call that a newer version words
    # otherwise is answered by what is recorded at its place (K7).
    assert not report["unread"]
    assert all(isinstance(name, str) and "/" in name for name in report["reused"])
    # OpenAI's client asks the system for its processor, for a header.
    assert not [contact for contact in report["contacts"] if "uname" not in contact]
    assert not (tmp_path / "tools.jsonl").exists()
