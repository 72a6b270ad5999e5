from __future__ import annotations

from pathlib import Path

import pytest

from perdure.demo.corpus import gather, project_docs
from perdure.errors import UsageError

LONG = "This sentence is repeated to make a text that is worth reading. " * 5


def test_the_projects_own_documents_are_there() -> None:
    assert all(path.exists() for path in project_docs())
    corpus = gather(None)
    assert len(corpus.documents) == 10
    assert len({document.name for document in corpus.documents}) == 10
    assert all(document.text for document in corpus.documents)


def test_few_documents_are_taken_apart_at_their_headings(tmp_path: Path) -> None:
    (tmp_path / "one.md").write_text(f"# First\n\n{LONG}\n\n## Second\n\n{LONG}b\n", "utf-8")
    (tmp_path / "plain.txt").write_text(LONG, "utf-8")
    names = [document.name for document in gather(tmp_path).documents]
    assert names == ["one-first.md", "one-second.md", "plain.md"]


def test_a_comment_in_a_code_block_is_no_heading(tmp_path: Path) -> None:
    text = f"# Only\n\n{LONG}\n\n```sh\n# not this\n{LONG}\n```\n"
    (tmp_path / "one.md").write_text(text, "utf-8")
    (document,) = gather(tmp_path).documents
    assert document.name == "one.md"
    assert "# not this" in document.text


def test_enough_documents_stay_whole_and_are_taken_evenly(tmp_path: Path) -> None:
    for n in range(20):
        (tmp_path / f"d{n:02}.md").write_text(f"# A\n\n{LONG}{n}\n\n# B\n\n{LONG}", "utf-8")
    (tmp_path / "d00-tiny.md").write_text("See elsewhere.", "utf-8")
    names = [document.name for document in gather(tmp_path).documents]
    assert names == [f"d{n:02}.md" for n in range(0, 20, 2)]


def test_equal_texts_are_read_once_and_equal_names_numbered(tmp_path: Path) -> None:
    (tmp_path / "a.b.md").write_text("first", "utf-8")
    (tmp_path / "a-b.md").write_text("second", "utf-8")
    (tmp_path / "c.md").write_text("second", "utf-8")
    assert [(d.name, d.text) for d in gather(tmp_path).documents] == [
        ("a-b.md", "second"), ("a-b.2.md", "first"),
    ]  # fmt: skip


def test_what_is_hidden_or_no_text_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "notes.md").write_text(LONG, "utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    with pytest.raises(UsageError, match="no text to read"):
        gather(tmp_path)


def test_long_documents_are_cut_at_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("12345\n" * 100, "utf-8")
    (document,) = gather(tmp_path, longest=20).documents
    assert document.text == "12345\n12345\n12345"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        gather(tmp_path / "nowhere")


def test_written_documents_are_plain_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "deep").mkdir()
    (tmp_path / "in" / "deep" / "Über uns.md").write_text(LONG, "utf-8")
    gather(tmp_path / "in").write(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["deep-ber-uns.md"]
