"""Tests of ``tests.prose``: the check finds what it should, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.prose import excess, phrases


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("A job that is no more.", "is no X"),
        ("It has a list of its own.", "of its own"),
        ("Read from MLflow alone.", "alone"),
        ("It has ended. Whoever\nreads this.", "whoever"),
        ("Of each metric the newest.", "Of/What/Who first"),
        ("A row. What is left out.", "Of/What/Who first"),
    ],
)
def test_a_rule_finds_its_phrase(text: str, rule: str, tmp_path: Path) -> None:
    """A rule finds its phrase once in a docstring, in a comment and in a page."""
    module, page = tmp_path / "a.py", tmp_path / "a.md"
    module.write_text(f'"""{text}"""\n')
    page.write_text(f"# A page\n\n{text}\n")
    assert [found for found, _ in phrases(module)] == [rule]
    assert [found for found, _ in phrases(page)] == [rule]
    comment = text.replace("\n", "\n# ")
    module.write_text(f"# {comment}\n")
    assert [found for found, _ in phrases(module)] == [rule]


def test_code_is_not_prose(tmp_path: Path) -> None:
    """Code, links, questions and words that only resemble a phrase are skipped."""
    page = tmp_path / "a.md"
    page.write_text("`alone` [a](told.md) What is it? It is no longer there.\n\n```\nanew\n```\n")
    assert [*phrases(page)] == []


def test_a_new_phrase_is_shown() -> None:
    """A new phrase is shown with its place, and the allowed number passes."""
    found = {"bridge": [("alone", "a.py: ...MLflow alone"), ("alone", "b.py: ...it alone")]}
    assert [*excess(found, {"bridge": {"alone": 2}})] == []
    assert [*excess(found, {"bridge": {"alone": 1}})] == [
        'bridge: 2 times "alone", 1 allowed; one of these is new:',
        "    a.py: ...MLflow alone",
        "    b.py: ...it alone",
    ]
