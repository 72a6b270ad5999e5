"""Troubleshooting names every error by its code, and no code that does not exist."""

from __future__ import annotations

import re

from docs.generate import pages
from tests.docs.pages import ROOT

# Classes that are never raised as themselves, and ends that nobody has trouble with.
WITHOUT_SYMPTOM = {"effect", "method_not_allowed", "run_cancelled", "run_error", "unavailable"}
CODE = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
NAMED = re.compile(r"\(((?:`[a-z_]+`(?:, )?)+)(?:, exit code \d+)?\)|\| \d{3} \| `([a-z_]+)` \|")


def test_troubleshooting_knows_every_error() -> None:
    codes = set(CODE.findall(pages()["reference/errors.md"]))
    text = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
    assert codes, "the reference lists none"
    missing = {code for code in codes if f"`{code}`" not in text}
    assert missing <= WITHOUT_SYMPTOM, missing - WITHOUT_SYMPTOM


def test_errors_that_troubleshooting_names_exist() -> None:
    codes = set(CODE.findall(pages()["reference/errors.md"]))
    text = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
    named = {
        code for found in NAMED.findall(text) for code in re.findall(r"[a-z_]+", " ".join(found))
    }
    assert len(named) > 20
    assert named <= codes, named - codes
