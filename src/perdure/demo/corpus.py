"""The documents that the demo's agent reads: up to ten, real, from a folder or a file.

Where a folder holds fewer, its documents are taken apart at their headings until there are
enough. Nothing is made up: with too little text the demo says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from perdure.errors import UsageError

KINDS = (".md", ".rst", ".txt", ".markdown", ".adoc")
WANTED = 10
_HEADING = re.compile(r"^#{1,3} +(.+)$", re.MULTILINE)
_CODE = re.compile(r"^```.*?(^```|\Z)", re.MULTILINE | re.DOTALL)
_SHORTEST = 200  # characters worth reading, where there is a choice


@dataclass(frozen=True, slots=True)
class Document:
    """``name`` is a plain file name."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """``source`` is where the documents are from, for people."""

    source: str
    documents: tuple[Document, ...]

    def write(self, folder: Path) -> None:
        """Put them into a folder as files."""
        folder.mkdir()
        for document in self.documents:
            (folder / document.name).write_text(document.text, "utf-8")


def project_docs() -> list[Path]:
    """The project's own documents: in a wheel beside this file, in a checkout ``docs`` and the
    README."""
    here = Path(__file__).parent
    root = here if (here / "docs").is_dir() else here.parents[2]
    return [path for path in (root / "docs", root / "README.md") if path.exists()]


def gather(path: Path | None, *, wanted: int = WANTED, longest: int = 6000) -> Corpus:
    """Up to ``wanted`` documents of at most ``longest`` characters below ``path`` (default: the
    project's own). Raises UsageError where there is nothing to read."""
    places = project_docs() if path is None else [path]
    if path is not None and not path.exists():
        raise UsageError(f"There is no folder {path}.", hint="--docs takes a folder or a file.")
    found = [document for place in places for document in _documents(place)]
    source = "Perdure's own documents" if path is None else str(path)
    if not found:
        raise UsageError(
            f"There is no text to read in {source}.",
            hint=f"The demo reads files that end in {', '.join(KINDS)}.",
        )
    long = [document for document in found if len(document.text) >= _SHORTEST]
    found = long if len(long) >= wanted else found
    if len(found) < wanted:
        found = _apart(found)
    found = _spread(_distinct(found), wanted)
    return Corpus(source, tuple(Document(d.name, _cut(d.text, longest)) for d in found))


def _documents(place: Path) -> Iterator[Document]:
    root = place if place.is_dir() else place.parent
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    for file in files:
        inside = file.relative_to(root)
        if any(part.startswith(".") for part in inside.parts) or not file.is_file():
            continue
        if file.suffix.lower() in KINDS:
            text = file.read_text("utf-8", errors="replace").strip()
            if text:
                yield Document(_slug(str(inside.with_suffix(""))) + ".md", text)


def _apart(documents: list[Document]) -> list[Document]:
    """Sections of each document; one without headings stays whole."""
    sections = []
    for document in documents:
        stem = document.name.removesuffix(".md")
        # A comment in a code block is no heading: look for them in a text without such blocks.
        bare = _CODE.sub(lambda block: " " * len(block[0]), document.text)
        heads = list(_HEADING.finditer(bare))
        ends = [*(head.start() for head in heads[1:]), len(document.text)][: len(heads)]
        parts = [
            Document(
                f"{stem}-{_slug(head[1])[:24].rstrip('-')}.md", document.text[head.start() : end]
            )
            for head, end in zip(heads, ends, strict=True)
        ]
        parts = [part for part in parts if len(part.text.strip()) >= _SHORTEST]
        sections += parts if len(parts) > 1 else [document]
    return sections


def _distinct(documents: list[Document]) -> list[Document]:
    """Equal texts once, equal names numbered."""
    names: dict[str, int] = {}
    texts: set[str] = set()
    kept = []
    for document in documents:
        if document.text in texts:
            continue
        texts.add(document.text)
        names[document.name] = nth = names.get(document.name, 0) + 1
        stem = document.name.removesuffix(".md")
        kept.append(document if nth == 1 else Document(f"{stem}.{nth}.md", document.text))
    return kept


def _spread(documents: list[Document], wanted: int) -> list[Document]:
    """``wanted`` of them, evenly from the whole list."""
    if len(documents) <= wanted:
        return documents
    return [documents[at * len(documents) // wanted] for at in range(wanted)]


def _cut(text: str, longest: int) -> str:
    """At most ``longest`` characters, ended at a line."""
    if len(text) <= longest:
        return text
    return text[:longest].rpartition("\n")[0] or text[:longest]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "document"
