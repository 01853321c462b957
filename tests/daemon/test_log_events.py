"""The log: each trouble once, its end once, and no secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
import structlog
from structlog.testing import capture_logs

from bridge import errors, log
from bridge.daemon.log_events import JobLog, PassLog, TroubleLog
from bridge.daemon.scheduler import Pace
from bridge.model import MetricPoint
from bridge.plan.ownership import Deletion
from bridge.plan.plan import Plan
from bridge.redaction import Redactor
from bridge.simulator import Reply, Request, Simulator, json_reply
from bridge.sync.events import Event, JobDone, JobsChosen, PassEnded, RunDeleted
from bridge.sync.outcome import Failed, Outcome, Result, Synced, Untouched
from bridge.sync.report import Report
from bridge.tracking import Tracking
from tests.support.world import Clock, job, make_sync

Line = dict[str, object]


def reported(news: TroubleLog, *reports: Report) -> list[Line]:
    """Return the log of some passes."""
    with capture_logs() as lines:
        for report in reports:
            news.of(report)
    return [dict(line) for line in lines]


def failed(job_id: str, sentence: str = "It broke", provider: str = "openai") -> Report:
    """Return a pass in which one job was lost."""
    error = errors.ServerFailed(sentence, "Try again later")
    return Report(provider=provider, failures=[(job_id, error)])


def stopped(error: errors.BridgeError | None, provider: str = "openai") -> Report:
    """Return a pass that ended early, or without an error one that did not."""
    return Report(provider=provider, stopped=error)


DOWN = errors.Unreachable("No connection", "Check the network")


# Jobs


def test_a_lost_job_is_reported_once() -> None:
    """The same job with the same trouble is one line, however many passes it lasts."""
    news = TroubleLog()
    assert reported(news, failed("ftjob-a")) == [
        {
            "log_level": "error",
            "event": "job not recorded",
            "provider": "openai",
            "job": "ftjob-a",
            "error": "It broke",
            "remedy": "Try again later",
        }
    ]
    assert reported(news, failed("ftjob-a"), failed("ftjob-a")) == []


@pytest.mark.parametrize(
    "other",
    [failed("ftjob-b"), failed("ftjob-a", "It broke anew"), failed("ftjob-a", provider="other")],
    ids=["job", "trouble", "provider"],
)
def test_another_trouble_is_reported(other: Report) -> None:
    """Another job, another trouble and another provider are each logged."""
    news = TroubleLog()
    assert len(reported(news, failed("ftjob-a"), other)) == 2


def test_an_error_without_remedy_has_none_in_its_line() -> None:
    """A line about an error without a remedy does not end in an empty field."""
    report = Report(provider="openai", failures=[("ftjob-a", errors.NotFound("It is gone"))])
    (line,) = reported(TroubleLog(), report)
    assert "remedy" not in line


def test_a_value_that_was_left_out_is_reported_once() -> None:
    """A value that could not be recorded is a warning, once."""
    news = TroubleLog()
    report = Report(provider="openai", skipped=[("ftjob-a", "step 3: loss is not finite")])
    (line,) = reported(news, report, report)
    assert line["log_level"] == "warning"
    assert line["what"] == "step 3: loss is not finite"


def test_the_memory_of_troubles_is_bounded() -> None:
    """The memory of troubles is bounded: the oldest is forgotten, and can be logged again."""
    news = TroubleLog()
    assert reported(news, failed("ftjob-first"))
    many = Report(
        provider="openai",
        failures=[(f"ftjob-{number}", errors.NotFound("It is gone")) for number in range(10_000)],
    )
    assert len(reported(news, many)) == 10_000
    assert reported(news, failed("ftjob-first")), "nothing was forgotten"
    newest = Report(provider="openai", failures=many.failures[-1:])
    assert reported(news, newest) == [], "the newest trouble was forgotten"


def test_a_lasting_trouble_is_reported_once_whatever_the_requests_are_called(
    tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A job that fails in every pass is one line, although each reply has another request id."""
    numbers = count()

    def broken(request: Request) -> Reply | None:
        if not request.path.endswith("/checkpoints"):
            return None
        reply = json_reply({"error": {"message": "The server had an error"}}, 500)
        headers = {**reply.headers, "x-request-id": f"req_{next(numbers)}"}
        return Reply(status=500, headers=headers, body=reply.body)

    news = TroubleLog()
    with Simulator(jobs=[job("ftjob-a")], clock=clock, intercept=broken) as simulator:
        clock.now += 1000
        sync = make_sync(simulator, tracking, executor, clock)
        lines = reported(news, sync.run(), sync.run(), sync.run())
    assert [line["event"] for line in lines] == ["job not recorded"], lines


# Outages


def test_an_outage_is_reported_when_it_begins_and_when_it_is_over() -> None:
    """An outage is one line at its beginning and one at the first good pass."""
    news = TroubleLog()
    assert reported(news, stopped(None)) == []
    assert reported(news, stopped(DOWN), stopped(DOWN), stopped(DOWN)) == [
        {
            "log_level": "error",
            "event": "outage",
            "provider": "openai",
            "of": "openai",
            "error": "No connection",
            "remedy": "Check the network",
        }
    ]
    assert reported(news, stopped(None), stopped(None)) == [
        {"log_level": "info", "event": "recovered", "provider": "openai"}
    ]
    assert [line["event"] for line in reported(news, stopped(DOWN))] == ["outage"]


def test_an_outage_that_only_words_itself_differently_is_no_news() -> None:
    """An outage with other words of the same kind is not logged again."""
    again = errors.Unreachable("No connection (timed out)", "Check the network")
    assert len(reported(TroubleLog(), stopped(DOWN), stopped(again))) == 1


def test_an_outage_of_another_kind_is_reported() -> None:
    """An outage of another kind is logged, because it needs another person's help."""
    refused = errors.Unauthorized("The key is refused", "Check api_key")
    lines = reported(TroubleLog(), stopped(DOWN), stopped(refused), stopped(None))
    assert [line["event"] for line in lines] == ["outage", "outage", "recovered"]


def test_an_outage_says_whose_it_is() -> None:
    """An outage of MLflow is not blamed on the provider."""
    (line,) = reported(TroubleLog(), stopped(errors.TrackingDown("MLflow is down", "Start it")))
    assert (line["provider"], line["of"]) == ("openai", "mlflow")


def test_each_provider_has_outages_of_its_own() -> None:
    """A good pass of one provider does not end another's outage."""
    lines = reported(
        TroubleLog(),
        stopped(DOWN),
        stopped(None, provider="mistral"),
        stopped(DOWN, provider="mistral"),
        stopped(None),
    )
    assert [(line["event"], line["provider"]) for line in lines] == [
        ("outage", "openai"),
        ("outage", "mistral"),
        ("recovered", "openai"),
    ]


def test_a_request_to_stop_is_neither_outage_nor_recovery() -> None:
    """A request to stop, which the user knows of, is neither an outage nor a recovery."""
    news = TroubleLog()
    end = stopped(errors.Stopped("Asked to stop"))
    assert reported(news, end) == []
    assert len(reported(news, stopped(DOWN))) == 1
    assert reported(news, end) == []
    assert [line["event"] for line in reported(news, stopped(None))] == ["recovered"]


# A service that has ended

GONE = stopped(errors.Withdrawn("No more", "What MLflow holds stays"))
WELL = stopped(None)


@pytest.mark.parametrize(
    ("reports", "paces"),
    [
        ([WELL, WELL], [60, 60]),
        ([GONE, GONE, GONE, GONE], [60, 60, 3600, 3600]),
        ([GONE, GONE, WELL, GONE, GONE], [60, 60, 60, 60, 60]),
        ([GONE, GONE, stopped(DOWN), GONE, GONE], [60, 60, 60, 60, 60]),
        ([GONE, GONE, GONE, WELL, GONE], [60, 60, 3600, 60, 60]),
        ([GONE, GONE, GONE, stopped(DOWN), GONE], [60, 60, 3600, 3600, 3600]),
        ([stopped(errors.NoService("No", "Check"))] * 3, [60, 60, 3600]),
        ([stopped(errors.Unauthorized("No", "Check"))] * 5, [60] * 5),
        ([failed("ftjob-a")] * 5, [60] * 5),
    ],
)
def test_a_service_that_has_ended_is_asked_rarely(reports: list[Report], paces: list[int]) -> None:
    """A service that has ended three times in a row gets few requests until it answers again."""
    pace = Pace(60, steps=[3600])
    before = pace.seconds
    for report, expected in zip(reports, paces, strict=True):
        changes = pace.changes(report)
        assert pace.seconds == expected
        assert changes == (expected != before)
        before = expected


def left(jobs: int) -> Report:
    """Return a pass that leaves this many jobs open."""
    return Report(provider="openai", open=jobs)


@pytest.mark.parametrize(
    ("reports", "paces"),
    [
        ([left(0), left(0), left(1), left(2), left(0)], [300, 300, 60, 60, 300]),
        ([left(0), stopped(DOWN), left(0)], [300, 60, 300]),  # its end is to be noticed soon
        ([left(0), stopped(errors.Stopped("Asked to stop"))], [300, 300]),
        ([left(0), GONE, GONE, GONE, left(0)], [300, 60, 60, 3600, 300]),
    ],
)
def test_a_provider_without_open_jobs_is_asked_less_often(
    reports: list[Report], paces: list[int]
) -> None:
    """A provider without open jobs gets fewer requests, and its next pass is logged."""
    pace = Pace(60, 300, [3600])
    assert pace.seconds == 60
    before = 60
    for report, expected in zip(reports, paces, strict=True):
        assert pace.changes(report) == (expected != before)
        assert pace.seconds == expected
        before = expected


# Jobs as they are recorded


def outcome(
    result: Result = Result.UPDATED, *, run_id: str | None = "r1", status: str | None
) -> Outcome:
    """Return a job that was recorded with one point, or with nothing new."""
    is_new, is_unchanged = result is Result.NEW, result is Result.UNCHANGED
    plan = Plan(
        provider="openai",
        job_id="ftjob-a",
        run_id=None if is_new else run_id,
        run_name="openai/a",
        start_time=1,
        tags={},
        params={},
        points=() if is_unchanged else (MetricPoint("train_loss", 1, 0.5, 1),),
        status=None if is_unchanged else status,
        end_time=None,
        is_final=False,
        is_settling=False,
        reason="its run is RUNNING, and the job is still open",
        skipped=(),
    )
    return Synced(provider="openai", job_id="ftjob-a", plan=plan, run_id=run_id)


def said(teller: JobLog, what: Outcome) -> list[Line]:
    """Return the log of an outcome without ``--verbose``."""
    with capture_logs() as lines:
        teller(JobsChosen("openai", 1))
        teller(JobDone(what))
    return [dict(line) for line in lines if line["log_level"] != "debug"]


def test_a_new_job_is_reported_with_its_run() -> None:
    """The line on a new job has everything that is needed to find its run."""
    for only_turns in (True, False):
        (line,) = said(JobLog(only_turns=only_turns), outcome(Result.NEW, status="FINISHED"))
        assert line == {
            "log_level": "info",
            "event": "job recorded",
            "name": "openai/a",
            "provider": "openai",
            "job": "ftjob-a",
            "run": "r1",
            "kind": "new",
            "points": 1,
            "status": "FINISHED",
        }


def test_more_points_of_a_known_job_are_reported_only_where_all_is() -> None:
    """New points of a known job are logged by a backfill, and not by the daemon."""
    assert said(JobLog(only_turns=True), outcome(status=None)) == []
    (line,) = said(JobLog(only_turns=False), outcome(status=None))
    assert "status" not in line


def test_a_new_status_of_a_known_job_is_reported() -> None:
    """A new status of a known job is logged by the daemon too."""
    (line,) = said(JobLog(only_turns=True), outcome(status="FINISHED"))
    assert line["status"] == "FINISHED"


def test_what_was_not_written_is_not_reported_as_recorded() -> None:
    """Unchanged and failed jobs are not logged as recorded."""
    for only_turns in (True, False):
        teller = JobLog(only_turns=only_turns)
        assert said(teller, outcome(Result.UNCHANGED, status="FINISHED")) == []
        lost = Failed(provider="openai", job_id="ftjob-a", error=DOWN)
        assert said(teller, lost) == []


# The lines


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    """Return standard error while the log is set up as in the commands."""
    log.set_up(Redactor(["a-secret-key", "a-secret-key-and-more"]))
    yield capsys
    structlog.reset_defaults()


def test_no_line_has_a_secret(lines: pytest.CaptureFixture[str]) -> None:
    """Secrets are masked in the event and in every field, longer ones before shorter ones."""
    structlog.get_logger().error(
        "refused a-secret-key", error="got a-secret-key-and-more!", url="http://u:a-secret-key@h"
    )
    captured = lines.readouterr()
    assert "secret" not in captured.err
    assert "and-more" not in captured.err
    assert captured.err.count("***") == 3
    assert not captured.out, "logs go to stderr"


def test_an_event_is_one_line_of_harmless_characters(lines: pytest.CaptureFixture[str]) -> None:
    """A provider's text can neither forge a line nor steer the terminal."""
    structlog.get_logger().error("x", error="one\ntwo\r\x1b[2Jthree\x9b31m\u202efour", job="a\nb")
    text = lines.readouterr().err
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert not {"\x1b", "\r", "\x9b", "\u202e"} & set(text)


def test_a_long_text_is_cut(lines: pytest.CaptureFixture[str]) -> None:
    """A megabyte in an error message is cut in the log."""
    structlog.get_logger().error("x", error="y" * 1_000_000)
    assert len(lines.readouterr().err) < 2_000


def test_a_line_has_time_level_event_and_facts(lines: pytest.CaptureFixture[str]) -> None:
    """A line has a time, a level, an event and the facts."""
    structlog.get_logger().warning("value left out", provider="openai", points=3)
    text = lines.readouterr().err
    for part in ("Z ", "warning", "value left out", "provider=openai", "points=3"):
        assert part in text


def test_debugging_is_not_logged(lines: pytest.CaptureFixture[str]) -> None:
    """Debug messages of libraries that log through structlog are dropped."""
    structlog.get_logger().debug("noise")
    structlog.get_logger().info("news")
    text = lines.readouterr().err
    assert "noise" not in text
    assert "news" in text


def test_programs_get_one_json_object_a_line(lines: pytest.CaptureFixture[str]) -> None:
    """Programs get one JSON object per line, with the masked facts as fields."""
    log.set_up(Redactor(["a-secret-key"]), as_json=True)
    hostile = 'x"}\n{"a": 1}\x1b[2J a-secret-key'
    structlog.get_logger().error("outage", error=hostile, points=3)
    text = lines.readouterr().err
    assert text.count("\n") == 1
    found = json.loads(text)
    assert list(found) == ["timestamp", "level", "event", "error", "points"]
    assert (found["level"], found["event"], found["points"]) == ("error", "outage", 3)
    assert found["error"] == 'x"} {"a": 1}[2J ***'
    assert text.isascii()


def test_a_verbose_pass_names_each_job_that_it_leaves_untouched() -> None:
    """``--verbose`` names each untouched job with the reason, even one that a worker read."""
    teller = JobLog(only_turns=True)
    with capture_logs() as lines:
        teller(JobsChosen("openai", 1, settled=("a",), unselected=("b",)))
        teller(JobDone(Untouched(provider="openai", job_id="c")))
    assert [(line["event"], line["job"], line["reason"], line["log_level"]) for line in lines] == [
        ("job left untouched", "a", "settled", "debug"),
        ("job left untouched", "b", "not selected", "debug"),
        ("job left untouched", "c", "settled", "debug"),
    ]


def test_a_dry_run_decides_and_records_nothing() -> None:
    """A dry run logs its decisions with ``--verbose``, and no run as recorded."""
    teller = JobLog(only_turns=False, is_dry=True)
    with capture_logs() as lines:
        teller(JobDone(outcome(Result.NEW, status="FINISHED")))
    assert [line["event"] for line in lines] == ["job compared"]


# Decisions, with --verbose


def every_line(handle: JobLog, *events: Event) -> list[Line]:
    """Return the whole log of some events."""
    with capture_logs() as lines:
        for event in events:
            handle(event)
    return [dict(line) for line in lines]


def test_a_decision_is_logged_with_its_reason() -> None:
    """A decision is logged with its reason, even without a write."""
    for what, writes in (
        (outcome(status=None), "1 point of 1 metric"),
        (outcome(Result.UNCHANGED, status=None), "nothing"),
    ):
        first, *_ = every_line(JobLog(only_turns=True), JobDone(what))
        assert first == {
            "log_level": "debug",
            "event": "job compared",
            "provider": "openai",
            "job": "ftjob-a",
            "reason": "its run is RUNNING, and the job is still open",
            "writes": writes,
        }


def test_a_deletion_is_logged_with_its_reason() -> None:
    """A deletion is logged with its reason, even without ``--verbose``."""
    deletion = Deletion("r2", "ftjob-a", "run r1 owns its job")
    (line,) = every_line(JobLog(only_turns=True), RunDeleted("openai", deletion))
    assert line == {
        "log_level": "info",
        "event": "run deleted",
        "provider": "openai",
        "run": "r2",
        "job": "ftjob-a",
        "reason": "run r1 owns its job",
    }


def test_duplicates_that_stay_are_reported_once() -> None:
    """Duplicates that stay are logged once, with their number and the command that deletes them."""
    deletions = [Deletion(str(number), "a", "") for number in range(11)]
    report = Report(provider="openai", withheld=deletions)
    (line,) = reported(TroubleLog(), report, report)
    assert (line["event"], line["runs"]) == ("duplicates not deleted", 11)
    assert "doctor --fix" in str(line["remedy"])


def test_a_store_that_takes_no_archive_is_reported_once() -> None:
    """A store without an archive is logged once, and other troubles of each job are too."""
    full = errors.ArchiveFailed("The store is full")
    reports = [Report(provider="openai", failures=[(name, full)]) for name in ("a", "b")]
    (line,) = reported(TroubleLog(), *reports)
    assert (line["job"], line["error"]) == ("", "The store is full")


@pytest.mark.parametrize(
    ("error", "whose"),
    [
        (DOWN, "openai"),
        (errors.TrackingDown("MLflow is down"), "mlflow"),
        (errors.ClusterDown("No worker"), "cluster"),
    ],
)
def test_an_outage_is_somebodys(error: errors.BridgeError, whose: str) -> None:
    """An outage belongs to the provider, to MLflow, or to the cluster."""
    (line,) = reported(TroubleLog(), stopped(error))
    assert (line["of"], line["error"]) == (whose, error.sentence)


@pytest.mark.parametrize(
    "error",
    [
        *(errors.BadReply("x"), errors.NoAnswer("x"), errors.ServerFailed("x")),
        *(errors.Throttled("x"), errors.Unreachable("x")),
    ],
)
def test_a_passing_outage_may_look_different_each_time(error: errors.BridgeError) -> None:
    """A passing outage is one line, although a server in trouble varies its answers."""
    assert len(reported(TroubleLog(), stopped(DOWN), stopped(error))) == 1
    refused = errors.Unauthorized("The key is refused")
    assert len(reported(TroubleLog(), stopped(refused), stopped(error))) == 2


def test_a_pass_is_logged_by_its_turns_and_its_end() -> None:
    """The daemon's log shows the turns of jobs and the end of a pass."""
    lines = every_line(
        PassLog(),
        JobDone(outcome(status=None)),
        JobDone(outcome(status="FINISHED")),
        PassEnded(failed("ftjob-a"), 1.0),
        PassEnded(failed("ftjob-a"), 1.0),
    )
    assert [line["event"] for line in lines if line["log_level"] != "debug"] == [
        "job recorded",
        "job not recorded",
    ]


def test_a_new_job_is_a_turn_of_its_own_life() -> None:
    """A new job is logged with its status, also with that which MLflow gives a new run."""
    (line,) = said(JobLog(only_turns=True), outcome(Result.NEW, status=None))
    assert (line["event"], line["kind"], line["status"]) == ("job recorded", "new", "RUNNING")


def test_a_dry_run_records_nothing() -> None:
    """A dry run logs decisions and no records."""
    handle = JobLog(only_turns=False, is_dry=True)
    assert said(handle, outcome(Result.NEW, status="FINISHED")) == []
    (line,) = every_line(handle, JobDone(outcome(Result.NEW, status="FINISHED")))
    assert line["event"] == "job compared"


def test_jobs_that_are_left_untouched_are_logged_with_the_reason() -> None:
    """Jobs left untouched, by the page or by a worker, are logged with the reason."""
    chosen = JobsChosen("openai", 0, settled=("a",), unselected=("b",))
    untouched = JobDone(Untouched(provider="openai", job_id="c"))
    lines = every_line(JobLog(only_turns=True), chosen, untouched)
    assert [(line["job"], line["reason"]) for line in lines] == [
        ("a", "settled"),
        ("b", "not selected"),
        ("c", "settled"),
    ]
    assert {line["event"] for line in lines} == {"job left untouched"}
