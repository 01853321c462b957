"""MLflow as a person sees it, in a real browser."""

from __future__ import annotations

import contextlib
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import pytest
from mlflow import MlflowClient

from bridge import errors
from bridge.daemon.http_server import application, listening
from bridge.daemon.metrics import Metrics
from bridge.daemon.recent_jobs import RecentJob
from bridge.daemon.status import DaemonStatus
from bridge.plan.routing import Router
from bridge.plan.tags import color_of
from bridge.redaction import Redactor
from bridge.settings.daemon import Address
from bridge.simulator import Simulator, all_end_by
from bridge.simulator.openai_objects import checkpoint_objects, job_object, model_name
from bridge.sync.events import PassEnded
from bridge.sync.report import Report
from bridge.tracking import Tracking
from tests.daemon.test_recent_jobs import CURVE, line
from tests.support.browser import CHROMIUM, PATIENCE, launched, window
from tests.support.ports import free_port
from tests.support.processes import Started, started, wait_until
from tests.support.world import NOW, Clock, job, make_sync

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("openai/support-bot", "mistral/changelog-writer", "local/digits")
COLUMNS = ("eval_loss", "loss", "fine_tuning_state", "base_model")
RELOADS = 20

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start one browser for all tests; each opens windows with an empty profile."""
    with launched() as running:
        yield running


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Started]:
    """Run a demo, and return once it has printed its links."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    with started(
        "demo", "--port", str(free_port()), env={"TMPDIR": str(folder)}, is_parent=True
    ) as process:
        process.wait_for("Ctrl-C stops everything")
        yield process


def link(said: str, name: str) -> str:
    """Return the link that the demo prints under a name."""
    found = re.search(rf"^\s*{name}\s+(http\S+)$", said, re.MULTILINE)
    assert found, said
    return found[1]


def have_curves(uri: str) -> bool:
    """Return whether each run has a curve, so that pages need no reload; ask twice a second."""
    time.sleep(0.5)
    client = MlflowClient(uri)
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    found = {
        name
        for name in NAMES
        for run in runs
        if named(name).match(str(run.info.run_name))
        and len(client.get_metric_history(run.info.run_id, "loss")) > 1
    }
    return len(found) == len(NAMES)


def drawn(chart: Locator) -> dict[str, int]:
    """Return the lines of a chart: run names with the number of their points."""
    plot = chart.locator(".js-plotly-plot")
    found = plot.evaluate("plot => plot.data.map(line => [line.name, line.x.length])")
    return {str(name): int(points) for name, points in found}


def seen(page: Page, what: Locator) -> None:
    """Wait for ``what``; reloading shows a run that began after the page was loaded."""
    for _ in range(RELOADS):
        with contextlib.suppress(sync_api.TimeoutError):
            what.wait_for(timeout=8_000)
            return
        page.reload()
    what.wait_for()


def named(name: str) -> re.Pattern[str]:
    """Return a run's name: the suffix, then the end of the job's id."""
    return re.compile(rf"^{name}(-\w{{6}})?$")


def points_of(lines: dict[str, int], name: str) -> int:
    """Return how many points a run has on a chart."""
    return max((count for line, count in lines.items() if named(name).match(line)), default=0)


@pytest.mark.soak
def test_a_newcomer_sees_hosted_beside_local(
    demo: Started, browser: Browser, tmp_path: Path
) -> None:
    """The printed links show both providers' and the local run, with the losses in one chart.

    The two charts of losses come first, on the first screen, with all runs on them; other metrics
    are folded below.
    """
    table = link(demo.said, "table")
    wait_until(lambda: have_curves(table.partition("/#")[0]), "curves of all runs", demo)
    with window(browser, width=1440, height=900) as page:
        page.goto(table)
        for column in COLUMNS:
            page.get_by_role("columnheader", name=column, exact=True).first.wait_for()
        page.get_by_role("gridcell", name="open-mistral-7b").first.wait_for()
        for name in NAMES:
            seen(page, page.get_by_text(named(name)).first)
        page.screenshot(path=tmp_path / "table.png")

        page.goto(link(demo.said, "charts"))
        page.reload()  # only the part of the address after # differs
        cards = page.get_by_test_id("experiment-view-compare-runs-card")
        for _ in range(RELOADS):
            seen(page, cards.nth(1).locator(".scatterlayer .trace").first)
            lines = drawn(cards.nth(0))
            if all(points_of(lines, name) > 1 for name in NAMES):
                break
            page.wait_for_timeout(3_000)
            page.reload()
        page.screenshot(path=tmp_path / "charts.png")
        titles = [cards.nth(place).inner_text().split()[0] for place in range(2)]
        boxes = [cards.nth(place).bounding_box() for place in range(2)]
        count = cards.count()
        page.emulate_media(color_scheme="dark")
        page.screenshot(path=tmp_path / "charts-dark.png")

    drawn_points = {name: points_of(lines, name) for name in NAMES}
    assert min(drawn_points.values()) > 1, f"{drawn_points} of {lines}; {demo.said}"
    assert titles == ["loss", "eval_loss"]
    assert count == 2, "all other charts are folded"
    assert all(box and box["y"] + box["height"] <= 900 and box["width"] > 200 for box in boxes)
    for name in ("models", "a run"):
        assert link(demo.said, name).endswith("?workflowType=machine_learning")
    demo.send(signal.SIGINT)
    assert demo.end() == 0, demo.said
    assert "Traceback" not in demo.said
    assert list((tmp_path / "temporary").iterdir()) == []


# Two recorded jobs, the second of which trains the first one's model further

PARENT = job("ftjob-parent", suffix="greeter")
CHILD = job(
    "ftjob-child",
    suffix="greeter-v2",
    created_at=NOW + 100,
    base_model=model_name(PARENT, PARENT.total_steps),
)
END = all_end_by((PARENT, CHILD)) + 1


class Family(NamedTuple):
    """Pages of MLflow's UI that show the jobs."""

    run: str
    """Page of the second job's run."""
    models: str


@pytest.fixture(scope="module")
def family(server: str) -> Family:
    """Record both jobs beside a local run in an MLflow server."""
    clock = Clock(END)
    with (
        Simulator(jobs=(PARENT, CHILD), clock=clock) as simulator,
        ThreadPoolExecutor(4) as executor,
    ):
        tracking = Tracking(server)
        client = MlflowClient(server)
        client.create_experiment("family")
        report = make_sync(
            *(simulator, tracking, executor, clock),
            router=Router(provider="openai", experiment="family", open_to_jobs=("*",)),
            archive=True,
            register="{suffix}",
        ).run()
        assert not report.failures, report
        experiment_id = tracking.experiment("family", create=False) or ""
        (run,) = tracking.runs([experiment_id], job_id=CHILD.id)
        local = client.create_run(experiment_id, run_name="local/digits").info.run_id
        for step, name in product(range(1, 4), ("train_loss", "full_valid_loss")):
            client.log_metric(local, name, 1 / step, step=step)
        return Family(
            run=tracking.link(experiment_id, run.run_id),
            models=tracking.link(experiment_id, page="models"),
        )


@contextlib.contextmanager
def kept(page: Page, path: Path) -> Iterator[None]:
    """Save a picture of the page when an expectation fails."""
    try:
        yield
    except AssertionError:
        page.screenshot(path=path)
        raise


def test_a_run_page_tells_the_job_and_leads_to_its_parent(
    family: Family, browser: Browser, tmp_path: Path
) -> None:
    """A run's page shows note, data, models and version, and lineage links lead both ways."""
    expect = sync_api.expect
    with window(browser) as page, kept(page, tmp_path / "run.png"):
        page.goto(family.run)
        expect(page.get_by_text("Succeeded", exact=True)).to_be_visible(timeout=PATIENCE)
        parent = page.get_by_role("link", name="openai/greeter-parent", exact=True)
        # MLflow folds all but the first lines of a note.
        expect(parent).to_be_in_viewport(timeout=PATIENCE)
        file_id = str(job_object(CHILD, END)["training_file"])
        expect(page.get_by_text(re.compile(rf"^{file_id} \(\w+\)$")).first).to_be_visible()
        expect(page.get_by_role("link", name="greeter-v2", exact=True).first).to_be_visible()
        expect(page.get_by_text("Logged models (3)")).to_be_visible(timeout=PATIENCE)
        for step in CHILD.epoch_ends:
            model = page.get_by_role("link", name=f"greeter-v2-step-{step:06}").last
            model.scroll_into_view_if_needed()
            expect(model).to_be_visible(timeout=PATIENCE)
        with page.context.expect_page() as opened:
            parent.click()
        there = opened.value
        expect(
            there.get_by_role("heading", name="openai/greeter-parent", exact=True)
        ).to_be_visible(timeout=PATIENCE)
        back = there.get_by_role("link", name=re.compile("^openai.greeter-v2-"))
        expect(back).to_have_attribute("href", re.compile("#/runs/"), timeout=PATIENCE)
        assert str(back.get_attribute("href")).rpartition("/")[2] in family.run

        page.get_by_role("tab", name="Artifacts").click()
        expect(page.get_by_text("provider", exact=True)).to_be_visible(timeout=PATIENCE)


def test_the_models_tab_lists_the_checkpoints_with_their_metrics(
    family: Family, browser: Browser, tmp_path: Path
) -> None:
    """The models tab has a row for each checkpoint of each job, with its losses."""
    expect = sync_api.expect
    # Wide enough for all columns to be drawn.
    with window(browser, width=3200) as page, kept(page, tmp_path / "models.png"):
        page.goto(family.models)
        for one in (PARENT, CHILD):
            for checkpoint in checkpoint_objects(one, END):
                step = int(str(checkpoint["step_number"]))
                name = page.get_by_role("link", name=f"{one.suffix}-step-{step:06}", exact=True)
                expect(name).to_have_count(1, timeout=PATIENCE)
                # The table draws the names separately from the rest of a row.
                row = page.locator(".ag-row", has=name).get_attribute("row-index")
                cells = page.locator(f".ag-row[row-index='{row}']")
                metrics = checkpoint["metrics"]
                assert isinstance(metrics, dict)
                for metric in ("train_loss", "valid_loss"):
                    value = cells.get_by_text(str(metrics[metric]), exact=True)
                    expect(value).to_be_visible(timeout=PATIENCE)


def rgb(color: str) -> str:
    """Return a color in the browser's notation."""
    return f"rgb({', '.join(str(int(color[place : place + 2], 16)) for place in (1, 3, 5))})"


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.soak)])
def test_the_description_leads_from_mlflows_home_to_the_charts(
    family: Family, browser: Browser, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    """The links on the first page lead to hosted and local losses in one chart, colors distinct.

    MLflow opens an experiment that the bridge did not create on its traces.
    """
    expect = sync_api.expect
    home, _, path = family.run.partition("#")
    experiment = f"{home}#{path.partition('/runs')[0]}"
    with window(browser, width=1440, height=900) as page, kept(page, tmp_path / f"{scheme}.png"):
        page.emulate_media(color_scheme=scheme)
        page.goto(experiment)
        charts = page.locator("a", has_text=re.compile("^Charts$")).first
        expect(charts).to_be_visible(timeout=PATIENCE)
        page.goto(f"{home}{charts.get_attribute('href')}")
        cards = page.get_by_test_id("experiment-view-compare-runs-card")
        expect(cards).to_have_count(2, timeout=PATIENCE)
        expect(cards.nth(0)).to_contain_text("train_loss")
        expect(cards.nth(1)).to_contain_text("full_valid_loss")
        curves = cards.nth(0).locator(".scatterlayer path.js-line")
        # Each run has two: as measured, and smoothed.
        expect(curves).to_have_count(6, timeout=PATIENCE)
        page.screenshot(path=tmp_path / f"{scheme}.png")
        lines = drawn(cards.nth(0))
        assert lines.keys() == {"openai/greeter-parent", "openai/greeter-v2-child", "local/digits"}
        assert min(lines.values()) > 1
        colors = curves.evaluate_all("paths => paths.map(path => path.style.stroke)")
        assert len(set(colors)) == 3
        assert set(colors) > {rgb(color_of("openai", one.id)) for one in (PARENT, CHILD)}


# The daemon's page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_daemons_page_can_be_read(
    browser: Browser, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    """The daemon's page is readable in both color schemes and on a phone, without errors."""
    picture = DaemonStatus(["openai", "mistral"], Redactor(), lambda: NOW)
    picture(PassEnded(Report(provider="openai"), 1.0))
    stopped = errors.Unreachable("https://api.mistral.example/v1 cannot be reached")
    picture(PassEnded(Report(provider="mistral", stopped=stopped), 2.0))
    said: list[str] = []
    jobs = tuple(RecentJob(line(str(number)), CURVE) for number in range(20))
    app = application(lambda: replace(picture.view(), jobs=jobs), Metrics([], picture.view))
    with (
        listening(Address("127.0.0.1", 0), app) as at,
        window(browser, width=420, height=800) as page,
        kept(page, tmp_path / "daemon.png"),
    ):
        page.on("console", lambda message: said.append(message.text))
        page.emulate_media(color_scheme=scheme)
        page.goto(f"http://{at}/")
        sync_api.expect(page.get_by_text("● up").first).to_be_visible()
        sync_api.expect(page.get_by_text("https://api.mistral")).to_be_visible()
        run = page.get_by_role("link", name="openai/bot-19", exact=True)
        sync_api.expect(run).to_have_attribute("href", jobs[19].line.url)
        box = page.locator("polyline").last.bounding_box()
        assert box is not None
        assert box["width"] > 50, "the curve is drawn"
        bad = page.locator(".bad").first
        color = bad.evaluate("each => getComputedStyle(each).color")
        assert color == {"light": "rgb(207, 34, 46)", "dark": "rgb(255, 123, 114)"}[scheme]
        assert page.evaluate("document.documentElement.scrollWidth") <= 420, "it is too wide"
        page.screenshot(path=tmp_path / "daemon.png")
    assert [each for each in said if "favicon" not in each] == []
