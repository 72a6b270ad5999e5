"""The documentation as data: pages, and the blocks of code in them with their marks.

A mark is a comment in the line before a block:

``<!-- file: X -->``   the block is a file of this name
``<!-- run -->``       shell commands that are executed and succeed
``<!-- background -->``  commands, one a line, that are started and go on
``<!-- shows -->``     lines of what the commands before printed; ``…`` stands for anything
``<!-- fragment -->``  Python that only makes sense in its surroundings: compiled, not executed
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
MARK = re.compile(r"<!-- (file: (?P<name>\S+)|run|background|shows|fragment) -->")
FENCE = re.compile(r"(?P<indent> *)```(?P<language>\w*)$")


@dataclass(frozen=True)
class Block:
    """``line`` is where its first line of code stands, counted from 1."""

    page: str
    line: int
    language: str
    mark: str
    name: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    @cached_property
    def blocks(self) -> list[Block]:
        return list(self._blocks())

    def _blocks(self) -> Iterator[Block]:
        lines = self.text.splitlines()
        at = 0
        while at < len(lines):
            fence = FENCE.fullmatch(lines[at])
            if fence is None:
                at += 1
                continue
            end = at + 1
            while lines[end].strip() != "```":
                end += 1
            mark = MARK.fullmatch(lines[at - 1].strip()) if at else None
            word = mark[1].partition(":")[0] if mark else ""
            name = (mark["name"] or "") if mark else ""
            indent = len(fence["indent"])
            code = "".join(line[indent:] + "\n" for line in lines[at + 1 : end])
            yield Block(self.name, at + 2, fence["language"], word, name, code)
            at = end + 1


def pages() -> list[Page]:
    """README and everything below docs/ that belongs to the documentation."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
    found += sorted((ROOT / "docs").rglob("*.md"))
    return [Page(path) for path in found]


def runnable() -> list[Page]:
    """Pages with commands to execute."""
    return [p for p in pages() if any(b.mark in ("run", "background") for b in p.blocks)]


def blocks(language: str) -> list[Block]:
    return [block for page in pages() for block in page.blocks if block.language == language]
