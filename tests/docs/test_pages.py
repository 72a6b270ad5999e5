"""What can be held against the pages without running anything."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from docs.generate import commands
from docs.pictures import IMAGES, PICTURES
from perdure.config import load
from tests.docs.pages import ROOT, Block, Page, blocks, pages

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
# Of the places where this was made, nothing belongs into it.
FOREIGN = re.compile("|".join((r"(?<!\w)/wor" + r"k\b", r"\.\./shar" + "ed")))
TEXTS = {".md", ".py", ".toml", ".sql", ".sh", ".txt", ".in", ""}


def _anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Page) -> None:
    for link in LINK.findall(page.text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            anchors = map(_anchor, HEADING.findall(target.read_text("utf-8")))
            assert anchor in anchors, f"{page.name}: {link}"


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_compiles(block: Block) -> None:
    compile(block.code, str(block), "exec")


@pytest.mark.parametrize("block", [b for b in blocks("python") if not b.mark], ids=str)
def test_python_runs(block: Block) -> None:
    """What bears no mark stands for itself."""
    exec(compile(block.code, str(block), "exec"), {"__name__": "snippet"})


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_settings_in_pages_are_settings(block: Block, tmp_path: Path) -> None:
    tomllib.loads(block.code)
    file = tmp_path / "perdure.toml"
    file.write_text(block.code, "utf-8")
    load(file, environ={})


def _calls(block: Block) -> list[list[str]]:
    """The words of every call of perdure in a shell block."""
    found = []
    for line in block.code.replace("\\\n", " ").splitlines():
        for part in re.findall(r"(?:^|[|;&(]|\s)perdure (?:[^|;&()#]|\([^)]*\))*", line):
            try:
                found.append(shlex.split(part.strip().lstrip("|;&(")))
            except ValueError:  # half a quotation: the rest is in another part
                continue
    return found


@pytest.mark.parametrize("block", blocks("sh"), ids=str)
def test_commands_in_pages_exist(block: Block) -> None:
    known = dict(commands())
    for words in _calls(block):
        name, at = "perdure", 1
        while at < len(words) and f"{name} {words[at]}" in known:
            name, at = f"{name} {words[at]}", at + 1
        command = known[name]
        assert not isinstance(command, click.Group), f"{block}: {words}"
        options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
        for word in words[at:]:
            if word.startswith("-") and word != "-":
                assert word.partition("=")[0] in options | {"--help"}, f"{block}: {name} {word}"


def test_nothing_is_said_of_where_this_was_made() -> None:
    folders = ("src", "docs", "examples", "tests", "bench", "scripts", "requirements")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    files += [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    for path in files:
        if not path.is_file() or path.suffix not in TEXTS or "__pycache__" in path.parts:
            continue
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
            assert not FOREIGN.search(line), f"{path}:{number}: {line}"


IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_pictures_are_there_and_say_what_they_show(page: Page) -> None:
    for words, path in IMAGE.findall(page.text):
        assert words, f"{page.name}: {path}"
        assert (page.path.parent / path).exists(), f"{page.name}: {path}"


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_as_they_are_drawn(name: str) -> None:
    assert (IMAGES / f"{name}.svg").read_text("utf-8") == PICTURES[name]().svg()
