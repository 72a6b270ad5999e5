"""The page's files: what they may load, and what they never do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perdure.server import console

FOLDER = Path(console.__file__).parent


def test_everything_the_page_loads_is_served_beside_it() -> None:
    page = (FOLDER / "page.html").read_text()
    loaded = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert {f"/{path}" for path in loaded if not path.startswith("data:")} | {"/"} == console.PATHS
    # Relative, so that it works under any prefix.
    assert not [path for path in loaded if path.startswith(("/", "http"))]
    assert "<style" not in page
    assert "style=" not in page
    assert not re.search(r"<script(?![^>]*src=)", page)
    assert not re.search(r"\son\w+=", page)


@pytest.mark.parametrize(
    "never",
    ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "http:",
     "https:", "localStorage", "DOMParser", "srcdoc", "createContextualFragment"],
)  # fmt: skip
def test_text_never_becomes_markup_and_nothing_comes_from_elsewhere(never: str) -> None:
    assert never not in (FOLDER / "app.js").read_text()


def test_addresses_are_relative() -> None:
    code = (FOLDER / "app.js").read_text()
    assert not re.findall(r'["`]/(?:api|console)', code)


def test_the_policy_allows_only_what_is_served_here() -> None:
    policy = {
        part.strip().partition(" ")[0]: part.strip().partition(" ")[2]
        for part in console.HEADERS["Content-Security-Policy"].split(";")
    }
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in console.HEADERS["Content-Security-Policy"]


def test_it_has_no_third_party_styles() -> None:
    assert not re.search(r"@import|url\(", (FOLDER / "style.css").read_text())
