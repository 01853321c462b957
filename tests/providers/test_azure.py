"""Azure OpenAI, simulated and read: its addresses, its credentials and its dialect.

The official client and Microsoft's specification are the referees of the simulator.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from azure.core.exceptions import ClientAuthenticationError

from bridge import errors
from bridge.bootstrap.bridge import assemble
from bridge.bootstrap.factories import headers_of
from bridge.http import entra_auth as entra
from bridge.http.client import connect
from bridge.providers.azure import Azure, address, needs_version
from bridge.providers.openai_lists import newest_first
from bridge.redaction import Redactor
from bridge.settings.model import Settings
from bridge.settings.provider import ProviderSettings
from bridge.simulator import Outcome, SimulatedJob, Simulator, all_end_by
from tests.support.config_file import write_config
from tests.support.contract import up_to
from tests.support.processes import invoke
from tests.support.recorded import recorded
from tests.support.simulated import conforms
from tests.support.wire_openai_like import AzureApi
from tests.support.world import KEY, NOW, Clock, NoSleep, job

VERSION = "2024-10-21"

MOMENTS = (0.0, 25.0, 31.0, 36.5, 42.0, 46.0, 1000.0)
"""Seconds after the jobs' creation that cover all statuses."""


def job_id(number: int) -> str:
    """Return an id as Azure writes them."""
    return f"ftjob-{number:032x}"


def azure_job(number: int, **changes: object) -> SimulatedJob:
    """Return a short job."""
    return job(job_id(number), "azure", **changes)


JOBS = (
    azure_job(1, suffix="chart-qa", n_epochs=4, shutdown_at=NOW + 90 * 86400),
    azure_job(2, outcome=Outcome.FAILED, suffix=None),
    azure_job(3, outcome=Outcome.CANCELLED, ends_at_step=5, validation=False),
    azure_job(4, outcome=Outcome.PAUSED, ends_at_step=3),
    azure_job(5, base_model="gpt-4.1-2025-04-14.ft-0123456789abcdef0123456789abcdef-first"),
)


@pytest.fixture
def simulator(clock: Clock) -> Iterator[Simulator]:
    """Return a resource with one key."""
    with Simulator(jobs=JOBS, clock=clock, api_key=KEY) as running:
        yield running


# The simulator


@pytest.mark.parametrize("seconds", MOMENTS)
@pytest.mark.parametrize("form", ["classic", "v1"])
def test_the_official_client_reads_everything(
    simulator: Simulator, clock: Clock, form: str, seconds: float
) -> None:
    """The official client pages through jobs, checkpoints and events at both addresses."""
    clock.now = NOW + seconds
    client: openai.OpenAI
    if form == "classic":
        client = openai.AzureOpenAI(
            azure_endpoint=simulator.azure_url, api_key=KEY, api_version=VERSION, max_retries=0
        )
    else:
        url = f"{simulator.azure_url}/openai/v1"
        client = openai.OpenAI(base_url=url, api_key=KEY, max_retries=0)
    with client:
        jobs = client.fine_tuning.jobs
        listed = list(jobs.list(limit=2))
        assert [each.id for each in listed] == [each.id for each in JOBS]
        for each in listed:
            assert jobs.retrieve(each.id) == each
            steps = [row.step_number for row in jobs.checkpoints.list(each.id, limit=2)]
            assert steps == sorted(set(steps))
            reported = [event.created_at for event in jobs.list_events(each.id, limit=7)]
            assert reported == sorted(reported)


@pytest.mark.parametrize("seconds", MOMENTS)
def test_replies_conform(simulator: Simulator, clock: Clock, seconds: float) -> None:
    """Each reply fits the specification."""
    clock.now = NOW + seconds
    with httpx.Client(
        base_url=f"{simulator.azure_url}/openai",
        headers={"api-key": KEY},
        params={"api-version": VERSION},
    ) as http:

        def ask(path: str) -> Any:  # noqa: ANN401 - JSON
            return http.get(path).raise_for_status().json()

        page = ask("/fine_tuning/jobs")
        conforms(page, "azure_page")
        for row in page["data"]:
            conforms(row, "azure_job")
            for name in ("checkpoint", "event"):
                rows = ask(f"/fine_tuning/jobs/{row['id']}/{name}s?limit=100")
                conforms(rows, "azure_page")
                for each in rows["data"]:
                    conforms(each, f"azure_{name}")


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/openai/fine_tuning/jobs", {"api-key": KEY}, 404),
        ("/fine_tuning/jobs", {"api-key": KEY}, 404),
        ("/openai/v1/fine_tuning/jobs/none", {"api-key": KEY}, 404),
        ("/openai/v1/fine_tuning/jobs", {"api-key": "another"}, 401),
        ("/openai/v1/fine_tuning/jobs", {}, 401),
        ("/openai/v1/fine_tuning/jobs", {"Authorization": f"Bearer {KEY}"}, 200),
    ],
)
def test_errors_are_microsofts(
    simulator: Simulator, path: str, headers: dict[str, str], status: int
) -> None:
    """A missing version, key or job gets an error object with code and message."""
    reply = httpx.get(simulator.azure_url + path, headers=headers)
    assert reply.status_code == status
    if status != 200:
        conforms(reply.json(), "azure_error")


# Reading


def settings(uri: str, **provider: object) -> Settings:
    """Write a configuration with one resource."""
    mine = {"name": "azure", "type": "azure", "api_key": KEY, **provider}
    return Settings.model_validate({"mlflow": {"tracking_uri": uri}, "providers": [mine]})


FORMS = {
    "classic": ("/openai", {"api_version": VERSION}),
    "v1": ("/openai/v1", {}),
    "token": ("/openai/v1", {"auth": "token"}),
}


@pytest.mark.parametrize("form", FORMS)
def test_jobs_are_followed_to_their_end(
    uri: str, simulator: Simulator, clock: Clock, form: str
) -> None:
    """A pass follows a job while it trains and after its end, and the next writes nothing."""
    base, more = FORMS[form]
    configured = settings(uri, base_url=simulator.azure_url + base, **more)
    with assemble(configured, {}, threading.Event()) as bridge:
        (sync,) = bridge.syncs
        clock.now = JOBS[0].step_at(4)
        assert sync.run().is_well
        assert recorded(uri)[job_id(1)].status == "RUNNING"
        clock.now = all_end_by(JOBS) + 1
        assert sync.run().is_well
        before = recorded(uri)
        report = sync.run()
        assert (report.points, report.failures) == (0, [])
    found = recorded(uri)
    assert found == before
    assert {name: run.status for name, run in found.items()} == {
        job_id(1): "FINISHED",
        job_id(2): "FAILED",
        job_id(3): "KILLED",
        job_id(4): "RUNNING",
        job_id(5): "FINISHED",
    }
    for request in simulator.requests:
        assert request.query.get("api-version") == (VERSION if form == "classic" else None)
        assert request.headers.get("api-key") == (None if form == "token" else KEY)
        assert ("authorization" in request.headers) == (form == "token")
    done = found[job_id(1)]
    assert done.name == "azure/chart-qa-000001"
    assert done.params["n_epochs"] == "4"
    assert done.tags["fine_tuned_model"].startswith("gpt-4.1-mini-2025-04-14.ft-")
    assert done.tags["fine_tuned_model_checkpoint"] == done.tags["fine_tuned_model"]
    assert done.tags["fine_tuning_started_at"]
    assert done.tags["fine_tuned_model_shutdown"] == "2026-01-07"
    assert "fine_tuned_model_shutdown" not in found[job_id(5)].tags
    assert [step for name, step, *_ in done.rows if name == "train_loss"] == [*range(1, 13)]
    assert "invalid_training_file" in found[job_id(2)].tags["fine_tuning_error"]
    assert found[job_id(4)].params["batch_size"] == "8"


def test_hyperparameters_wait_until_they_are_chosen(
    uri: str, simulator: Simulator, clock: Clock
) -> None:
    """A batch size of -1 is not recorded, and ``pending`` means that the job waits."""
    clock.now = NOW + 5
    configured = settings(uri, base_url=f"{simulator.azure_url}/openai/v1")
    with assemble(configured, {}, threading.Event()) as bridge:
        assert bridge.syncs[0].run().is_well
    waiting = recorded(uri)[job_id(1)]
    assert waiting.status == "SCHEDULED"
    assert waiting.tags["fine_tuning_status"] == "pending"
    assert not {"n_epochs", "batch_size"} & waiting.params.keys()


def test_events_are_read_to_the_newest_though_they_come_oldest_first() -> None:
    """An event on the last page is read, even if a store has the events of the first page."""
    api = AzureApi()
    api.jobs = [api.row("a-job")]
    api.events = [api.event(step, train_loss=1.0) for step in range(1, 251)]
    provider = api.provider()
    snapshot = provider.read(provider.job("a-job"), logged=up_to(120))
    assert {point.step for point in snapshot.curve} >= set(range(121, 251))


def row(number: int, moment: object) -> dict[str, object]:
    """Return a row of a list."""
    return {"id": f"row-{number}", "created_at": moment}


@pytest.mark.parametrize(
    ("times", "is_turned"),
    [
        ([1e9, 1e9 + 5, 1e9 + 5], True),
        ([1e9, 1e9], False),
        ([1e9 + 5, 1e9], False),
        ([None, 1e9, "soon", 1e9 + 1], True),
        ([0, 1e9], False),
        ([True, 1e9], False),
        ([None, None], False),
        ([], False),
    ],
)
def test_a_list_is_turned_if_it_begins_with_the_oldest(
    times: Sequence[object], *, is_turned: bool
) -> None:
    """The first page shows the order of a list, and a list without times stays as it is."""
    rows: list[object] = [row(number, moment) for number, moment in enumerate(times)]
    last: list[object] = [7, row(99, 1e9 + 50)]
    expected = [last[::-1], rows[::-1]] if is_turned else [rows, last]
    assert list(newest_first([rows, last])) == expected


def test_of_a_list_in_the_usual_order_no_more_is_read_than_is_wanted() -> None:
    """The next page of a list in the usual order is requested only when needed."""
    pages: Iterator[list[object]] = iter([[row(2, 1e9 + 1), row(1, 1e9)], [row(0, 1e9 - 1)]])
    assert next(newest_first(pages)) == [row(2, 1e9 + 1), row(1, 1e9)]
    assert len(list(pages)) == 1


def test_a_missing_list_costs_that_part_of_each_job() -> None:
    """A missing list is named on the run, and the rest of the job is recorded."""
    api = AzureApi()
    api.jobs = [api.row(f"job-{number}", status="succeeded") for number in range(5)]
    api.checkpoints = None
    provider = api.provider()
    for page in provider.pages():
        for each in page.jobs:
            (missing,) = provider.read(each, logged={}).missing
            assert (missing.name, missing.is_lasting) == ("checkpoints", True)


# Addresses


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://res.openai.azure.com",
        "https://res.openai.azure.com/",
        "https://res.openai.azure.com/openai",
        "https://res.openai.azure.com/openai/",
        "https://res.openai.azure.com/openai/v1",
        " https://res.openai.azure.com/openai/v1/ ",
    ],
)
def test_an_endpoint_may_be_written_in_any_form(endpoint: str) -> None:
    """An endpoint is accepted with and without the path, as portals show both."""
    assert address(endpoint, has_version=False) == "https://res.openai.azure.com/openai/v1"
    assert address(endpoint, has_version=True) == "https://res.openai.azure.com/openai"


@pytest.mark.parametrize(
    ("base_url", "needed"),
    [
        ("https://res.openai.azure.com/openai", True),
        ("https://res.openai.azure.com/openai/", True),
        ("https://res.openai.azure.com/openai/v1", False),
        ("https://gateway.example/fine-tuning", False),
    ],
)
def test_the_older_form_needs_a_version(base_url: str, *, needed: bool) -> None:
    """The older form of the address needs a version: without it every request gets a 404."""
    assert needs_version(base_url) == needed


# Credentials


def provider(**changes: object) -> ProviderSettings:
    """Return a provider's settings."""
    written = {"name": "mine", "type": "azure", "api_key": KEY, "base_url": "https://a.example"}
    return ProviderSettings.model_validate(written | changes)


def test_the_key_goes_into_the_header_of_its_kind() -> None:
    """Azure's key goes into its own header, while a token and all other keys are bearer tokens."""
    assert headers_of(provider()) == {"api-key": KEY}
    assert headers_of(provider(auth="token")) == {"Authorization": f"Bearer {KEY}"}
    assert headers_of(provider(type="openai")) == {"Authorization": f"Bearer {KEY}"}
    assert headers_of(provider(auth="entra", api_key=None)) == {}
    more = headers_of(provider(headers={"X-Team": "a"}))
    assert more == {"X-Team": "a", "api-key": KEY}


TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL2NvZ25pdGl2ZSJ9.c2lnbmF0dXJl"


def test_a_token_is_asked_for_before_each_request() -> None:
    """Each request asks for the token, which expires within the hour: its source renews it."""
    tokens = iter(["first", "second"])
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"])
        return httpx.Response(200, json={})

    http = connect(
        "https://a.example/openai",
        headers={},
        redactor=Redactor(),
        auth=entra.Bearer(lambda: next(tokens)),
        query={"api-version": VERSION},
        transport=httpx.MockTransport(answer),
    )
    http.get_object("/a")
    http.get_object("/b", {"limit": 1})
    assert seen == ["Bearer first", "Bearer second"]


def test_a_version_is_in_every_request() -> None:
    """Every request has the version besides its other parameters, even one for a file."""
    seen: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(dict(request.url.params))
        return httpx.Response(200, json={"data": []})

    http = connect(
        "https://a.example/openai",
        headers={},
        redactor=Redactor(),
        query={"api-version": VERSION},
        transport=httpx.MockTransport(answer),
    )
    azure = Azure(http)
    assert list(azure.pages())
    with azure.file("file-1"):
        pass
    assert seen == [{"api-version": VERSION, "limit": "100"}, {"api-version": VERSION}]


def test_a_token_that_is_refused_is_not_shown() -> None:
    """A refused token is hidden by its form, because no configuration holds it."""

    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, json={"error": {"message": f"no use for {TOKEN}"}})

    http = connect(
        "https://a.example/openai",
        headers={},
        redactor=Redactor(),
        sleep=NoSleep(),
        auth=entra.Bearer(lambda: TOKEN),
        transport=httpx.MockTransport(answer),
    )
    with pytest.raises(errors.Unauthorized) as caught:
        http.get_object("/fine_tuning/jobs")
    assert TOKEN not in str(caught.value)
    assert "no use for" in str(caught.value)


def test_an_identity_that_gives_no_token_is_reported() -> None:
    """An identity without a token is reported in one line that says what to do."""

    def refuse() -> str:
        raise ClientAuthenticationError("nobody has signed in\n" + "tried this\n" * 500)

    with pytest.raises(errors.Unauthorized, match="nobody has signed in") as caught:
        entra.named(refuse)()
    assert "az login" in caught.value.remedy
    assert len(caught.value.sentence) < 300
    assert "\n" not in caught.value.sentence


def test_entra_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entra without its package names the package to install."""
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with pytest.raises(errors.ConfigError, match="pip install azure-identity"), entra.signed_in():
        pytest.fail("there is no package")


def test_entra_asks_nobody_before_the_first_request() -> None:
    """Entra's credentials are prepared without a request."""
    with entra.signed_in() as bearer:
        assert isinstance(bearer, httpx.Auth)


def test_a_missing_package_is_wrong_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uri: str
) -> None:
    """A missing package ends with exit code 2, says what to install, and shows no traceback."""
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    entry = {"api_key": None, "auth": "entra", "base_url": "http://127.0.0.1:1/openai/v1"}
    done = invoke("backfill", "--config", write_config(tmp_path, uri, {"azure": entry}))
    assert done.exit_code == 2, done.output
    assert "pip install azure-identity" in done.output
    assert "Traceback" not in done.output
