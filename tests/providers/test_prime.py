"""Prime Intellect: its API at the wire, and from the simulator on into MLflow."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from bridge import errors
from bridge.cli.app import app
from bridge.http.client import connect
from bridge.model import Snapshot
from bridge.providers.base import Provider
from bridge.providers.prime import Prime
from bridge.redaction import Redactor
from bridge.simulator import Outcome, Simulator
from bridge.sync.outcome import Result
from bridge.tracking import Tracking
from tests.support.contract import JOB, by_id, listed, only, points, read
from tests.support.models import run_of
from tests.support.moments import iso
from tests.support.recorded import recorded
from tests.support.scripted import answer, script
from tests.support.wire_prime import PrimeApi
from tests.support.wire_server import BASE_URL, CREATED
from tests.support.world import KEY, NOW, Clock, NoSleep, job, make_sync

REWARD = "reward/all/mean"


def rows(*steps: int) -> list[object]:
    """Return rows of metrics."""
    return [PrimeApi().checkpoint(step, **{REWARD: step / 16}) for step in steps]


def queries(api: PrimeApi, part: str) -> list[dict[str, str]]:
    """Return the requests to one address."""
    return [dict(request.url.params) for request in api.asked(part)]


def test_runs_of_a_team_are_asked_for() -> None:
    """The team is sent with every page."""
    api = PrimeApi()
    api.jobs = [api.row(f"run-{n}", createdAt=iso(CREATED - n)) for n in range(45)]
    http = connect(
        BASE_URL,
        headers={},
        redactor=Redactor(),
        sleep=NoSleep(),
        transport=httpx.MockTransport(api),
    )
    assert len(listed(Prime(http, team="team-1"))) == 45
    assert queries(api, "/runs") == [
        {"page": page, "limit": "20", "team_id": "team-1"} for page in ("1", "2", "3")
    ]


def test_a_server_without_pages_sends_all_at_once() -> None:
    """A server that ignores pages and counts is read in one reply."""
    api = PrimeApi()
    everything = script(answer(200, {"runs": [api.row(f"run-{n}") for n in range(45)]}))
    assert len(listed(Prime(everything.http()))) == 45


def test_runs_come_newest_first_whatever_their_order() -> None:
    """Runs come newest first, even if the newest is on the last page."""
    api = PrimeApi()
    api.jobs = [api.row(f"run-{n}", createdAt=iso(CREATED + n)) for n in range(45)]
    (page,) = api.provider().pages()
    assert [job.id for job in page.jobs] == [f"run-{n}" for n in range(44, -1, -1)]


@pytest.mark.parametrize("most", [None, 10, 30])
@pytest.mark.parametrize("newest_first", [False, True])
def test_all_steps_are_found_however_many_come_at_once(
    most: int | None, *, newest_first: bool
) -> None:
    """All steps are found, whether the first or the last ones come first."""
    api = PrimeApi(most_rows=most, newest_rows_first=newest_first)
    api.jobs = [api.row(JOB)]
    api.checkpoints = rows(*range(1, 101))
    assert points(read(api.provider()).curve, REWARD) == {n: n / 16 for n in range(1, 101)}


def look(provider: Provider, *, keep: bool = False) -> Snapshot:
    """Read the run once."""
    return provider.read(by_id(provider), logged={}, keep=keep)


def test_an_open_run_is_asked_from_its_newest_step_on() -> None:
    """An open run is requested from its newest step on, and known points stay known."""
    api = PrimeApi()
    api.jobs = [api.row(JOB)]
    api.checkpoints = rows(1, 2)
    provider = api.provider()
    assert len(look(provider).curve) == 2
    api.checkpoints = [*rows(1), api.checkpoint(2, **{REWARD: 0.125, "eval": 1.0}), *rows(3)]
    found = look(provider).curve
    assert (points(found, REWARD), points(found, "eval")) == (
        {n: n / 16 for n in (1, 2, 3)},
        {2: 1},
    )
    look(provider)
    look(provider, keep=True)
    asked = [each.get("min_step") for each in queries(api, "/metrics")]
    assert asked == [None, "2", "3", None], "what is kept is read to its end"


def test_nested_numbers_are_metrics_and_times_are_not() -> None:
    """Nested numbers become metrics with dotted names, and a row's time in any form is its time."""
    api = PrimeApi()
    api.jobs = [api.row(JOB)]
    api.checkpoints = [
        {"step": 1, "a": {"b": [1, {"c": 2}]}, "on": True, "timestamp": CREATED + 1},
        {"step": 2, "d": 4, "_timestamp": (CREATED + 2) * 1000},
        {"step": 3, "e": 5, "timestamp": iso(CREATED + 3)},
    ]
    found = [(p.name, p.step, p.value, p.created_at) for p in read(api.provider()).curve]
    at = CREATED * 1000
    assert found == [
        *(("a.b.0", 1, 1.0, at + 1000), ("a.b.1.c", 1, 2.0, at + 1000)),
        *(("d", 2, 4.0, at + 2000), ("e", 3, 5.0, at + 3000)),
    ]


def test_rows_without_times_lie_between_the_known_moments() -> None:
    """Rows without times lie between the start, the checkpoints, and the end or last change."""
    api = PrimeApi()
    api.jobs = [api.row(JOB, updatedAt=iso(CREATED + 130))]
    api.saved = [{"id": "c", "step": 2, "status": "READY", "createdAt": iso(CREATED + 50)}]
    api.checkpoints = [{"step": n, REWARD: 1.0} for n in (1, 2, 3, 4)]
    snapshot = read(api.provider())
    moments = [(point.created_at or 0) // 1000 - CREATED for point in snapshot.curve]
    assert moments == [40, 50, 90, 130]
    (checkpoint,) = snapshot.checkpoints
    assert checkpoint.metrics == {REWARD: 1.0}


def test_only_checkpoints_that_are_there_count() -> None:
    """Only ready checkpoints count, by step and id, and their signed addresses are not archived."""
    api = PrimeApi()
    api.jobs = [api.row(JOB, status="COMPLETED")]
    api.saved = [
        {"id": f"c-{step}", "step": step, "status": word, "storageUrl": "https://s/a?Signature=x"}
        for step, word in enumerate(("UPLOADING", "READY", "FAILED", "PENDING"), 1)
    ]
    snapshot = read(api.provider(), keep=True)
    assert [(c.id, c.step, c.model) for c in snapshot.checkpoints] == [("c-2", 2, None)]
    assert b"Signature" not in snapshot.documents["checkpoints.jsonl"]


def test_what_a_run_cost_is_asked_once_it_has_ended() -> None:
    """The bill is requested once, after the end; a refusal or a missing bill costs nothing else."""
    api = PrimeApi(usage={"training": {"tokens": 5000}, "total_cost_usd": 1.5})
    api.jobs = [api.row(JOB, status="RUNNING")]
    assert read(api.provider()).job.cost is None
    assert not api.asked("/usage")
    api.jobs = [api.row(JOB, status="STOPPED")]
    found = read(api.provider()).job
    assert (found.cost, found.trained_tokens) == ("1.50 USD", 5000)
    for usage in (None, {"training": None, "total_cost_usd": 0}, {"total_cost_usd": "much"}):
        api.usage = usage
        assert read(api.provider()).job.cost is None


def test_a_run_tells_its_environments_and_its_end() -> None:
    """A run names its environments, in all spellings, and its end."""
    api = PrimeApi()
    reported = [{"name": "a/b"}, {"id": "c"}, "d", {"args": {}}, 7, {"slug": "a/b"}]
    api.jobs = [api.row(JOB, environments=reported, status="FAILED", errorMessage="no GPU")]
    found = only(api)
    assert found.training_files == ("a/b", "c", "d")
    assert (found.error, found.finished_at) == ("no GPU", (CREATED + 60) * 1000)
    with pytest.raises(errors.NotFound, match="environment"):
        api.provider().file("a/b")


# From the simulator into MLflow

PLAIN = job("run-plain", "prime", total_steps=40, n_epochs=4)
ALL = (
    PLAIN,
    replace(PLAIN, id="run-failed", outcome=Outcome.FAILED, ends_at_step=7),
    replace(PLAIN, id="run-stopped", outcome=Outcome.CANCELLED, ends_at_step=15),
    replace(PLAIN, id="run-paused", outcome=Outcome.PAUSED, ends_at_step=11),
    replace(PLAIN, id="run-waiting", outcome=Outcome.WAITING),
)
END = NOW + 1000


def test_a_backfill_records_every_run_and_a_second_one_nothing(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A backfill records status, tags, params and every row, and a second one writes nothing."""
    clock.now = END
    with Simulator(jobs=ALL, clock=clock) as simulator:
        report = make_sync(simulator, tracking, executor, clock, kind="prime").run()
        assert (report.failures, report.skipped) == ([], [])
        before = recorded(uri)
        again = make_sync(simulator, tracking, executor, clock, kind="prime").run()
        assert +again.jobs == Counter({Result.UNCHANGED: len(ALL)})
    assert recorded(uri) == before
    assert {job_id: run.status for job_id, run in before.items()} == {
        "run-plain": "FINISHED",
        "run-failed": "FAILED",
        "run-stopped": "KILLED",
        "run-paused": "RUNNING",
        "run-waiting": "SCHEDULED",
    }
    run = before[PLAIN.id]
    assert {step for name, step, _, _ in run.rows if name == REWARD} == set(range(1, 41))
    assert "metrics.reverse-text.exact" in {name for name, *_ in run.rows}
    assert run.params["batchSize"] == "8"
    assert run.tags["trained_tokens"] == str(40 * 2_000_000)
    assert "32.00 USD" in run_of(uri, PLAIN.id).data.tags["mlflow.note.content"]


def test_what_a_pass_costs(tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor) -> None:
    """A settled pass costs one request, and an open run two more."""
    live = replace(PLAIN, id="run-live", created_at=NOW + 2000)
    with Simulator(jobs=[PLAIN, live], clock=clock) as simulator:
        sync = make_sync(simulator, tracking, executor, clock, kind="prime")

        def asked() -> list[str]:
            before = len(simulator.requests)
            assert sync.run().is_well
            return [each.path.rpartition("/")[2] for each in simulator.requests[before:]]

        clock.now = END
        asked()
        assert asked() == ["runs"]
        clock.now = live.step_at(3)
        asked()
        clock.now = live.step_at(5)
        assert asked() == ["runs", "checkpoints", "metrics"]


@pytest.mark.parametrize(("key", "code"), [(KEY, 0), ("another-key-of-nobody", 1)])
def test_the_environment_is_enough(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch, key: str, code: int
) -> None:
    """A key in the environment is enough, with the address of Prime's CLI, and stays hidden."""
    monkeypatch.chdir(tmp_path)
    with Simulator(jobs=ALL, clock=Clock(END), api_key=KEY) as simulator:
        for name, value in {
            "PRIME_API_KEY": key,
            "PRIME_TEAM_ID": "team-1",
            "PRIME_BASE_URL": simulator.prime_url.removesuffix("/api/v1"),
            "MLFLOW_TRACKING_URI": uri,
        }.items():
            monkeypatch.setenv(name, value)
        checked = CliRunner().invoke(app, ["check", "--json"])
        filled = CliRunner().invoke(app, ["backfill"])
    assert (checked.exit_code, filled.exit_code) == (code, code), checked.output + filled.output
    assert key not in checked.output + filled.output
    assert {
        each.query["team_id"] for each in simulator.requests if each.path.endswith("/runs")
    } == {"team-1"}
