from __future__ import annotations

from perdure.demo.brain import answer, sentences, step_of

NOTE = "Question: Why?\n\nDocument a.md:\n\n{}\n\nNote in two sentences what it says about it."
TEXT = """# Title

Perdure runs agents in production. It brings them through `kill -9`!
Nobody pays twice for the same call.

```python
# This is code. It is not prose at all.
```

- a list item that is no sentence of the prose.
"""


def test_notes_are_sentences_of_the_document() -> None:
    assert answer(NOTE.format(TEXT)) == (
        "Perdure runs agents in production. It brings them through kill -9!"
    )


def test_code_headings_and_lists_are_no_prose() -> None:
    assert len(sentences(TEXT)) == 3
    assert answer(NOTE.format("# Only a heading")) == "It says nothing about the question."


def test_each_prompt_of_the_agent_is_told_apart() -> None:
    notes = "Question: Why?\n\nPlan: p\n\nNotes:\na.md: It says so.\nb.md: It says more.\n\n"
    assert step_of("Question: Why?\n\nDocuments:\n- a.md\n\nPlan in two") == "plan"
    assert step_of(NOTE.format(TEXT)) == "a.md"
    assert step_of(notes + "Outline a report that") == "outline"
    assert step_of(notes + "Write the report in") == "report"


def test_the_report_names_its_sources() -> None:
    prompt = "Outline:\n1. a\n\nNotes:\na.md: It says so.\nb.md: It says more.\n\nWrite the report"
    assert answer(prompt) == "# Report\n\nIt says so. (a.md)\nIt says more. (b.md)"
