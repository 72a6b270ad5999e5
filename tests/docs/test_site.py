"""The built site: nothing in it leads nowhere, nothing in it comes from elsewhere, no page is
left out of its navigation or of the index."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.pages import ROOT
from tests.docs.test_pages import LINK

DOCS = ROOT / "docs"
CONFIG = ROOT / "mkdocs.yml"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
BUILD = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
ELSEWHERE = re.compile(r"(?:https?:)?//", re.IGNORECASE)
STYLE = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")

builds = pytest.mark.skipif(
    find_spec("zensical") is None, reason="zensical is not installed: requirements/dev.in has it"
)


class Html(HTMLParser):
    """``links``: what can be followed. ``loaded``: what a browser fetches by itself."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if "id" in found:
            self.ids.add(found["id"])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and found.get("rel") != "canonical":
            self.loaded.append(found.get("href", ""))
        elif "src" in found:
            self.loaded.append(found["src"])


def _project(folder: Path) -> Path:
    shutil.copy(CONFIG, folder)
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from a copy."""
    folder = _project(tmp_path_factory.mktemp("project"))
    done = subprocess.run(BUILD, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def _html(site: Path) -> dict[Path, Html]:
    # The page for what is not found does not know where it will be asked for.
    return {p.resolve(): Html(p) for p in site.rglob("*.html") if p.name != "404.html"}


@builds
def test_every_page_is_built(site: Path) -> None:
    for page in PAGES:
        path = site / re.sub(r"README\.md$", "index.md", page)
        assert path.with_suffix(".html").is_file(), page


@builds
def test_links_and_anchors_lead_somewhere(site: Path) -> None:
    pages = _html(site)
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].ids, f"{path}: {link}"


@builds
def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for path, page in _html(site).items():
        for link in page.loaded:
            assert not ELSEWHERE.match(link), f"{path}: {link}"
            assert (path.parent / unquote(urlsplit(link).path)).is_file(), f"{path}: {link}"
    for style in site.rglob("*.css"):
        for found in STYLE.findall(style.read_text("utf-8")):
            assert not ELSEWHERE.match("".join(found)), f"{style}: {found}"


@builds
def test_nothing_but_the_documentation_is_published(site: Path) -> None:
    assert not [*site.rglob("*.py"), *site.rglob("*.toml"), *site.rglob("*.md")]


@builds
@pytest.mark.parametrize("link", ["nowhere.md", "concepts/runs.md#nowhere", "#nowhere"])
def test_a_broken_link_breaks_the_build(link: str, tmp_path: Path) -> None:
    folder = _project(tmp_path)
    for page in folder.rglob("*.md"):
        if page.name != "README.md":
            page.write_text("# A page\n", "utf-8")
    (folder / "docs/README.md").write_text(f"# Index\n\n[a page]({link})\n", "utf-8")
    done = subprocess.run(BUILD, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0, done.stdout + done.stderr


def test_navigation_has_every_page_once() -> None:
    nav = CONFIG.read_text("utf-8").partition("\nnav:\n")[2]
    assert sorted(re.findall(r"[\w/.-]+\.md$", nav, re.MULTILINE)) == PAGES


def test_index_leads_to_every_page() -> None:
    """From docs/README.md; decisions have an index of their own."""
    found = {"README.md"}
    for index in ("README.md", "decisions/README.md"):
        folder = (DOCS / index).parent
        for link in LINK.findall((DOCS / index).read_text("utf-8")):
            if "://" not in link:
                target = (folder / link.partition("#")[0]).resolve()
                found.add(target.relative_to(DOCS).as_posix())
    assert set(PAGES) - found == set()
