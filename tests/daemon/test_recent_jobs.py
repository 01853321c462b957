"""The newest jobs on the daemon's page."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bridge import errors
from bridge.daemon.recent_jobs import RecentJob, RecentJobs, reader_of
from bridge.daemon.stalls import Stalled
from bridge.daemon.status import ProviderView, View
from bridge.daemon.status_page import document, html
from bridge.listing.job_lines import Filter, JobLine
from bridge.plan import tags
from bridge.plan.ownership import Deletion
from bridge.redaction import Redactor
from bridge.sync.events import Event, JobDone, PassEnded, RunDeleted
from bridge.sync.outcome import Failed
from bridge.sync.report import Report
from bridge.tracking.newest import Seen
from tests.support.outcomes import outcome
from tests.support.run_states import run_state
from tests.support.world import NOW

CURVE = ((1, 2.0), (2, 1.0), (3, 0.5))
DONE = PassEnded(Report(provider="openai"), 1.0)
DOWN = PassEnded(Report(provider="openai", stopped=errors.TrackingDown("down", "Start it")), 1.0)


def line(job_id: str = "a", **facts: object) -> JobLine:
    """Return the line of a job that trains."""
    run = run_state(job_id)
    error = str(facts.pop("error", ""))
    base = JobLine(
        provider="openai",
        job_id=job_id,
        name=f"openai/bot-{job_id}",
        state="running",
        step=3,
        total_steps=1200,
        train=0.5,
        valid=0.75,
        is_reward=False,
        train_metric="loss",
        valid_metric="eval_loss",
        created_at=int(NOW - 7200) * 1000,
        cost=None,
        url="https://mlflow.example/#/experiments/1/runs/r",
        job_url="https://platform.example/finetune/a",
        silent=5000,
        is_stalled=False,
        seen=Seen(run=replace(run, tags={**run.tags, tags.ERROR: error}), values={}, ended_at=None),
    )
    return replace(base, **facts)  # type: ignore[arg-type] # by name, as above


def view(*jobs: RecentJob, stalled: tuple[Stalled, ...] = ()) -> View:
    """Return a view with jobs."""
    return View(
        now=NOW, started=NOW, providers={"openai": ProviderView()}, stalled=stalled, jobs=jobs
    )


class Reads:
    """Counts how often MLflow is asked."""

    def __init__(self) -> None:
        self.count = 0
        self.is_down = False

    def __call__(self) -> Iterator[RecentJob]:
        """Yield a job that is named after the reading."""
        self.count += 1
        if self.is_down:
            raise errors.TrackingDown("down", "Start it")
        yield RecentJob(line(str(self.count)))


DELETION = RunDeleted("openai", Deletion("a", "r", "it is a duplicate"))


@pytest.mark.parametrize(
    ("event", "is_read"),
    [
        (JobDone(outcome("b", "RUNNING", at=5)), True),
        (JobDone(Failed(provider="openai", job_id="b", error=errors.NotFound("gone"))), True),
        (DELETION, True),
        (DONE, False),
    ],
)
def test_mlflow_is_asked_after_a_pass_that_changed_something(
    event: Event, *, is_read: bool
) -> None:
    """MLflow is asked after the first pass, and then only after one that changed something."""
    reads = Reads()
    jobs = RecentJobs(reads)
    jobs(DONE)
    assert (reads.count, [job.line.job_id for job in jobs.view()]) == (1, ["1"])
    jobs(event)
    jobs(JobDone(outcome("c")))  # a job without anything new
    jobs(DONE)
    assert reads.count == 1 + is_read
    for _ in range(3):
        jobs.view()
    assert reads.count == 1 + is_read


def test_an_outage_keeps_what_was_read(jobs_after_outage: tuple[RecentJobs, Reads]) -> None:
    """The page shows what was read last while MLflow is down, and what is new afterwards."""
    jobs, reads = jobs_after_outage
    assert [job.line.job_id for job in jobs.view()] == ["1"]
    jobs(DOWN)
    assert reads.count == 2, "a pass that MLflow stopped asks nothing"
    reads.is_down = False
    jobs(DONE)
    assert [job.line.job_id for job in jobs.view()] == ["3"]


def test_a_pass_does_not_wait_for_a_reading_under_way() -> None:
    """A pass that ends during a reading goes on at once, and the next pass reads its changes."""
    reads, during = 0, list[bool]()

    def read() -> Iterator[RecentJob]:
        nonlocal reads
        reads += 1
        if reads == 1:
            for event in (DELETION, DONE):
                other = threading.Thread(target=jobs, args=(event,), daemon=True)
                other.start()
                other.join(30)
                during.append(other.is_alive())
        yield RecentJob(line(str(reads)))

    jobs = RecentJobs(read)
    jobs(DONE)
    assert during == [False, False]
    jobs(DONE)
    assert [job.line.job_id for job in jobs.view()] == ["2"]


@pytest.fixture
def jobs_after_outage() -> tuple[RecentJobs, Reads]:
    """Return jobs that were read once, and whose second reading failed."""
    reads = Reads()
    jobs = RecentJobs(reads)
    jobs(DONE)
    jobs(DELETION)
    reads.is_down = True
    jobs(DONE)
    return jobs, reads


def test_a_job_is_shown_with_its_losses_and_links() -> None:
    """A row has the run, the state, the steps, the losses, the curve and both links."""
    shown = html(view(RecentJob(line(cost="3.77 USD"), CURVE)))
    links = re.findall(r'href="(http[^"]*)"', shown)
    assert links == [
        "https://mlflow.example/#/experiments/1/runs/r",
        "https://platform.example/finetune/a",
    ]
    assert '<progress max="1200" value="3">' in shown
    assert '<polyline points="0,0 48,13.33 96,20"/>' in shown
    for text in ("openai/bot-a", "running", "of 1,200", "0.5", "0.75", "2 h", "3.77 USD"):
        assert f">{text}<" in shown or f" {text}<" in shown, text


def test_a_job_that_tells_little_has_empty_cells() -> None:
    """Unknown facts are left out, as is the column of costs where no job has one."""
    bare = line(
        state="queued", step=None, total_steps=None, train=None, valid=None, url="", job_url=None
    )
    shown = html(view(RecentJob(bare)))
    assert "None" not in shown
    assert ">cost<" not in shown
    assert "<progress" not in shown
    assert "<polyline" not in shown
    assert 'href="http' not in shown


def test_a_failed_job_tells_its_error_and_a_stalled_one_since_when() -> None:
    """The provider's error stands below the name; a stalled job differs from a running one."""
    failed = RecentJob(line("f", state="failed", error="<b>bad</b> file"))
    stalled = Stalled(
        provider="openai", job_id="a", name="n", run_id="r", experiment_id="1", seconds=9e3
    )
    seen = view(RecentJob(line()), failed, stalled=(stalled,))
    shown = html(seen)
    assert "<small>&lt;b&gt;bad&lt;/b&gt; file</small>" in shown
    assert '<span class="stalled">stalled 2 h</span>' in shown
    found = document(seen)["jobs"]
    assert isinstance(found, list)
    assert [(each["job"], each["stalled"]) for each in found] == [("a", True), ("f", False)]
    assert "silent_seconds" not in found[0]


@pytest.mark.parametrize(
    ("cost", "shown"),
    [
        ("3.77 USD", ">3.77 USD<"),
        ("0.86 USD (computed: 5 USD per million tokens)", ">≈ 0.86 USD<"),
        (None, "><"),
    ],
)
def test_a_computed_cost_differs_from_a_known_one(cost: str | None, shown: str) -> None:
    """A cost that the provider does not give has a sign, and says elsewhere where it is from."""
    both = (RecentJob(line(cost=cost)), RecentJob(line("b", cost="1.00 EUR")))
    assert f'<td class="number" title="{cost or ""}"{shown}/td>' in html(view(*both))


def test_a_reward_is_called_one() -> None:
    """A reward does not pass for a loss."""
    assert "<small>reward</small> 0.9" in html(view(RecentJob(line(train=0.9, is_reward=True))))


class Listed:
    """A list of one job."""

    def __init__(self, job: JobLine) -> None:
        self.job = job

    def lines(self, chosen: Filter) -> list[JobLine]:
        """Return the job."""
        assert chosen.limit == 20
        return [self.job]

    def curve(self, job: JobLine, metric: str | None) -> tuple[tuple[int, float], ...]:
        """Return the curve of its training, or else of its validation."""
        assert job is self.job
        return {"loss": CURVE, "eval_loss": CURVE[:2]}[metric or ""]


@pytest.mark.parametrize("address", ["javascript:alert(1)", "file:///etc/passwd", None])
def test_only_addresses_of_the_web_are_links(address: str | None) -> None:
    """Names are masked; other addresses are not links, nor is the page of a database."""
    job = line(name="bot-a-secret", job_url=address)
    (shown,) = reader_of(Listed(job), Redactor(["a-secret"]), has_links=False)()
    assert shown.line == replace(job, name="bot-***", job_url=None, url="")
    assert shown.curve == CURVE
    (linked,) = reader_of(Listed(job), Redactor(), has_links=True)()
    assert linked.line.url == job.url


def test_a_job_without_a_curve_of_training_shows_its_validation() -> None:
    """Without losses of the training the curve is that of the validation."""
    (shown,) = reader_of(Listed(line(train_metric=None)), Redactor(), has_links=True)()
    assert shown.curve == CURVE[:2]
    assert shown.line.job_url == "https://platform.example/finetune/a"
