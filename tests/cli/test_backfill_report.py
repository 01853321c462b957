"""The report that ``ftbridge backfill`` prints at its end."""

from __future__ import annotations

import json

import pytest

from bridge import errors
from bridge.cli.terminal.backfill_report import document, show
from bridge.redaction import Redactor
from bridge.sync.outcome import Result
from bridge.sync.report import Report


def printed(capsys: pytest.CaptureFixture[str], *reports: Report) -> list[str]:
    """Return the lines below the table."""
    show(reports, Redactor(["a-secret-key"]))
    lines = capsys.readouterr().out.splitlines()
    return [line for line in lines if line[:1] in {"✗", "!"}]


def lost(*failures: tuple[str, errors.BridgeError], provider: str = "openai") -> Report:
    """Return a pass that lost jobs."""
    report = Report(provider=provider, failures=list(failures))
    report.jobs[Result.FAILED] = len(failures)
    return report


def test_one_trouble_of_many_jobs_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """300 jobs that fail alike are one line with their number, three names and the remedy.

    The part that differs between requests is in the remedy and makes no second line.
    """
    failures = [
        (f"ftjob-{n:03}", errors.ArchiveFailed("It takes nothing", f"Mend it, request {n}"))
        for n in range(300)
    ]
    (line,) = printed(capsys, lost(*failures))
    assert line == (
        "✗ openai 300 jobs: It takes nothing. Mend it, request 0."
        " (ftjob-000, ftjob-001, ftjob-002, ...)"
    )


def test_few_jobs_with_one_trouble_are_all_named(capsys: pytest.CaptureFixture[str]) -> None:
    """All jobs with one trouble are named if there are few."""
    gone = errors.NotFound("It is gone")
    (line,) = printed(capsys, lost(("ftjob-a", gone), ("ftjob-b", gone)))
    assert line == "✗ openai 2 jobs: It is gone. (ftjob-a, ftjob-b)"


def test_troubles_that_differ_are_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Each trouble of each provider has a separate line, in the order of appearance."""
    one, other = errors.NotFound("It is gone"), errors.BadReply("It is no JSON")
    lines = printed(
        capsys,
        lost(("ftjob-a", one), ("ftjob-b", other), ("", one), ("ftjob-c", one)),
        lost(("ftjob-d", one), provider="mistral"),
    )
    assert lines == [
        "✗ openai 2 jobs: It is gone. (ftjob-a, ftjob-c)",
        "✗ openai ftjob-b: It is no JSON.",
        "✗ openai job list: It is gone.",
        "✗ mistral ftjob-d: It is gone.",
    ]


def test_the_same_trouble_in_many_rows_of_the_list_is_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same trouble in many rows of the list is one line without names."""
    row = errors.BadReply("A row has no id")
    (line,) = printed(capsys, lost(*[("", row)] * 1200))
    assert line == "✗ openai job list: 1,200 times: A row has no id."


def test_long_names_do_not_push_the_trouble_out_of_its_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A long name is cut, so that the trouble and its remedy show; secrets are masked."""
    gone = errors.NotFound("It is gone", "Ask for a-secret-key")
    (line,) = printed(capsys, lost(*[(f"{n}\n" + "x" * 5000, gone) for n in range(9)]))
    assert "9 jobs: It is gone. Ask for ***." in line
    assert len(line) < 1000


def test_a_program_gets_every_failure() -> None:
    """The JSON document groups nothing: each job has an entry."""
    gone = errors.NotFound("It is gone", "Look")
    report = lost(*[(f"ftjob-{n}", gone) for n in range(40)])
    (provider,) = json.loads(json.dumps(document([report], {})))["providers"]
    assert [failure["job"] for failure in provider["failures"]] == [f"ftjob-{n}" for n in range(40)]
    assert {failure["error"] for failure in provider["failures"]} == {"It is gone"}
