"""The versions that docs/compatibility.md names are those that the tests run with."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest

from docs.generate import frameworks
from tests.docs.pages import ROOT

FRAMEWORKS = frameworks()


def _locked(file: str, package: str) -> str:
    text = (ROOT / "requirements" / file).read_text("utf-8")
    found = re.search(rf"^{re.escape(package)}(?:\[.*\])?==(\S+)", text, re.MULTILINE)
    assert found, f"{package} is not in requirements/{file}"
    return found[1]


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_versions_are_those_of_the_locks(name: str) -> None:
    known = FRAMEWORKS[name]
    assert _locked("oldest.txt", known["package"]) == known["oldest"]
    assert _locked("dev.txt", known["package"]) == known["newest"]


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_newest_is_here(name: str) -> None:
    known = FRAMEWORKS[name]
    assert version(known["package"]) == known["newest"]


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_guide_and_example_are_there(name: str) -> None:
    for file in (FRAMEWORKS[name]["guide"], FRAMEWORKS[name]["example"]):
        assert (ROOT / file).is_file(), file
