"""``ftbridge backfill`` from the command line to the rows in MLflow.

The provider is ``tests.support.static_server``: fixed jobs, with their expected runs.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.config_file import write_config
from tests.support.processes import copy_database, dump, invoke, run, started
from tests.support.recorded import active_runs, deleted_runs, recorded
from tests.support.static_server import (
    BORN,
    Answer,
    Asked,
    Case,
    Json,
    StaticServer,
    differences,
    expected,
    json_answer,
    mistral_case,
    mistral_cases,
    openai_case,
    openai_cases,
)

KEY = "a-key-that-must-not-show"
CASES = openai_cases() + mistral_cases()
FEW = [*CASES[16:18], *CASES[24:28], *CASES[49:53]]
"""Jobs of both providers, for tests about one of them."""
LONG = [*CASES[2:5], *CASES[18:23], *CASES[51:53]]
"""Jobs of both providers, most with a curve longer than a page."""
SHORT = [*CASES[:2], *CASES[7:11], *CASES[12:14], *CASES[29:32], *CASES[41:49]]
SHORT += [CASES[52], *CASES[54:]]
"""Jobs of both providers in every state, with short curves, over the days that filters name."""


@dataclass(frozen=True, slots=True)
class History:
    """A finished backfill of all jobs."""

    server: StaticServer
    database: Path
    stdout: str
    stderr: str
    code: int


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """Run one backfill in a separate process, into a database that does not exist yet."""
    folder = tmp_path_factory.mktemp("history")
    database = folder / "mlflow.db"
    with StaticServer(CASES, largest_page=20) as server:
        config = server.write_config(folder, f"sqlite:///{database}")
        done = run("backfill", "--config", config)
        yield History(server, database, done.stdout, done.stderr, done.returncode)


def path_of(uri: str) -> Path:
    """Return the path of the database file."""
    return Path(uri.removeprefix("sqlite:///"))


# Complete histories


def test_one_backfill_records_every_job(history: History) -> None:
    """One backfill puts every job into MLflow: names, states, tags, params and whole curves."""
    assert history.code == 0, history.stderr
    assert differences(expected(CASES), recorded(f"sqlite:///{history.database}")) == []


def test_each_job_has_one_run(history: History) -> None:
    """A backfill creates one run for each job and deletes none."""
    uri = f"sqlite:///{history.database}"
    assert len(active_runs(uri)) == len(CASES)
    assert deleted_runs(uri) == []


def test_a_second_backfill_changes_nothing(history: History, tmp_path: Path) -> None:
    """A second backfill, in a new process, leaves the database's content as it is."""
    database = tmp_path / "mlflow.db"
    copy_database(history.database, database)
    before = dump(database)
    config = history.server.write_config(tmp_path, f"sqlite:///{database}")
    again = run("backfill", "--config", config)
    assert again.returncode == 0, again.stderr
    assert dump(database) == before


def test_a_broken_network_changes_no_row(uri: str, tmp_path: Path) -> None:
    """A fifth of all replies broken changes no row."""
    with StaticServer(LONG, largest_page=20, faults=4) as server:
        done = invoke("backfill", "--config", server.write_config(tmp_path, uri))
        assert server.broken > 20
    assert done.exit_code == 0, done.output
    assert differences(expected(LONG), recorded(uri)) == []


def test_large_pages_change_no_row(uri: str, tmp_path: Path) -> None:
    """Pages as long as the bridge requests them change no row."""
    cases = LONG[::3]
    with StaticServer(cases, largest_page=10_000) as server:
        done = invoke("backfill", "--config", server.write_config(tmp_path, uri))
    assert done.exit_code == 0, done.output
    assert differences(expected(cases), recorded(uri)) == []


def test_without_curves_there_are_the_checkpoints_only(uri: str, tmp_path: Path) -> None:
    """With ``curves: false`` exactly the checkpoints' rows are in MLflow, and no event is read."""
    cases = [*LONG[::3], *CASES[40:43]]
    with StaticServer(cases) as server:
        mlflow = {"curves": False, "archive": False}
        config = server.write_config(tmp_path, uri, mlflow=mlflow)
        done = invoke("backfill", "--config", config)
        assert not [asked.path for asked in server.asked if asked.path.endswith("/events")]
    assert done.exit_code == 0, done.output
    found = recorded(uri)
    for job_id, wanted in expected(cases).items():
        rows = {(name, step): (value, at) for name, step, value, at in found[job_id].rows}
        assert rows == wanted.exact, job_id


def test_metric_names_can_be_those_of_a_local_trainer(uri: str, tmp_path: Path) -> None:
    """With ``metric_names: huggingface`` hosted and local losses share one name."""
    case = openai_case(1, "succeeded", steps=20)
    with StaticServer([case]) as server:
        mlflow = {"metric_names": "huggingface"}
        config = server.write_config(tmp_path, uri, mlflow=mlflow, providers=["openai"])
        done = invoke("backfill", "--config", config)
    assert done.exit_code == 0, done.output
    rows = {(name, step) for name, step, _, _ in recorded(uri)[case.id].rows}
    assert {step for name, step in rows if name == "loss"} == set(range(1, 21))
    assert {name for name, _ in rows} == {
        "loss",
        "mean_token_accuracy",
        "eval_batch_loss",
        "eval_batch_mean_token_accuracy",
        "eval_loss",
        "eval_mean_token_accuracy",
        "epoch",
    }


def test_a_provider_may_have_an_experiment_of_its_own(uri: str, tmp_path: Path) -> None:
    """Each provider's runs are in the experiment that its configuration names."""
    with StaticServer([openai_case(1, "queued"), mistral_case(2, "QUEUED")]) as server:
        mistral = {**server.entry("mistral"), "experiment": "only mistral's"}
        entries = {"openai": server.entry("openai"), "mistral": mistral}
        config = write_config(tmp_path, uri, entries, mlflow={"experiment": "common"})
        assert invoke("backfill", "--config", config).exit_code == 0
    (common,) = recorded(uri, "common").values()
    assert common.name.startswith("openai/suffix-1-")
    (other,) = recorded(uri, "only mistral's").values()
    assert other.name.startswith("mistral/mistral-2-")


# A dry run


def test_a_dry_run_creates_no_database(tmp_path: Path) -> None:
    """``--dry-run`` names every job that it would create and leaves not a single file behind."""
    with StaticServer(CASES) as server:
        config = server.write_config(tmp_path, "sqlite:///mlflow.db")
        done = run("backfill", "--config", config, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == [config]
    for wanted in expected(CASES).values():
        assert f"create {wanted.name}" in done.stdout
    assert "Nothing was written" in done.stdout


def test_a_dry_run_leaves_a_database_as_it_is(uri: str, tmp_path: Path) -> None:
    """``--dry-run --json`` prints the plan of each job and changes nothing in the database."""
    cases = [*LONG, *FEW]
    with StaticServer(cases) as server:
        config = server.write_config(tmp_path, uri)
        assert invoke("backfill", "--config", config, "--limit", "2").exit_code == 0
        before = dump(path_of(uri))
        done = invoke("backfill", "--config", config, "--dry-run", "--json")
    assert dump(path_of(uri)) == before
    plans = {
        plan["job"]: plan
        for provider in json.loads(done.stdout)["providers"]
        for plan in provider["plans"]
    }
    known = recorded(uri).keys()
    assert len(known) == 4
    wanted = expected(cases)
    assert {job for job, plan in plans.items() if plan["run"] is None} == wanted.keys() - known
    for job, plan in plans.items():
        assert sum(plan["points"].values()) == len(wanted[job].curve) or job in known


# Filters


def test_a_provider_can_be_chosen(uri: str, tmp_path: Path) -> None:
    """``--provider`` copies only that provider's jobs and sends the other one no request."""
    with StaticServer(FEW) as server:
        config = server.write_config(tmp_path, uri)
        done = invoke("backfill", "--config", config, "--provider", "mistral")
        assert not [asked for asked in server.asked if "/openai/" in asked.path]
    assert done.exit_code == 0, done.output
    assert recorded(uri).keys() == {case.id for case in FEW if case.provider == "mistral"}


def test_jobs_can_be_chosen(uri: str, tmp_path: Path) -> None:
    """``--job`` copies only these jobs, and no provider fails for lack of the other's job."""
    wanted = [CASES[18], CASES[33], CASES[52]]
    with StaticServer(CASES) as server:
        config = server.write_config(tmp_path, uri)
        options = [part for case in wanted for part in ("--job", case.id)]
        done = invoke("backfill", "--config", config, *options)
        assert done.exit_code == 0, done.output
        # A provider without an address for single jobs is asked for its list, once per missing job
        # at most.
        lists = [asked for asked in server.asked if asked.path.endswith("/fine_tuning/jobs")]
        assert len(lists) <= len(wanted)
    assert differences(expected(wanted), recorded(uri)) == []


def test_a_job_that_nobody_has_is_an_error(uri: str, tmp_path: Path) -> None:
    """``--job`` with an unknown id ends with 1 and names the id; the other job is copied."""
    with StaticServer(CASES) as server:
        config = server.write_config(tmp_path, uri)
        done = invoke("backfill", "--config", config, "--job", CASES[20].id, "--job", "ftjob-gone")
    assert done.exit_code == 1
    assert "ftjob-gone" in done.output
    assert recorded(uri).keys() == {CASES[20].id}


@pytest.mark.parametrize(
    ("options", "chooses"),
    [
        (["--since", "2025-06-19"], lambda job: job["created_at"] >= 1_750_291_200),
        (["--until", "2025-06-19T00:00:00Z"], lambda job: job["created_at"] < 1_750_291_200),
        (
            ["--since", "2025-06-18T06:00:00+02:00", "--until", "2025-06-19T12:30:00"],
            lambda job: 1_750_219_200 <= job["created_at"] < 1_750_336_200,
        ),
        (["--since", "1d"], lambda _: False),
        (["--status", "failed"], lambda job: job["status"].startswith(("failed", "FAILED"))),
        (
            ["--status", "SUCCESS", "--status", "cancelled"],
            lambda job: job["status"] in {"SUCCESS", "cancelled", "CANCELLED"},
        ),
        (["--status", "paused"], lambda job: job["status"] == "paused"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_list_can_be_filtered(
    uri: str, tmp_path: Path, options: list[str], chooses: Callable[[Json], bool]
) -> None:
    """``--since``, ``--until`` and ``--status`` copy exactly the jobs that they describe."""
    wanted = [case for case in SHORT if chooses(case.job)]
    with StaticServer(SHORT, largest_page=10) as server:
        done = invoke("backfill", "--config", server.write_config(tmp_path, uri), *options)
    assert done.exit_code == 0, done.output
    assert differences(expected(wanted), recorded(uri)) == []


def test_a_limit_takes_the_newest_jobs(uri: str, tmp_path: Path) -> None:
    """``--limit 4`` copies the four newest jobs of each provider."""
    newest = openai_cases()[:4] + mistral_cases()[:4]
    with StaticServer(CASES, largest_page=3) as server:
        config = server.write_config(tmp_path, uri)
        done = invoke("backfill", "--config", config, "--limit", "4", "--provider", "openai")
        assert done.exit_code == 0, done.output
        server.cases = newest + [case for case in CASES if case.id not in {c.id for c in newest}]
    with StaticServer(CASES) as server:
        config = server.write_config(tmp_path, uri)
        done = invoke("backfill", "--config", config, "--limit", "4")
        assert done.exit_code == 0, done.output
    assert differences(expected(newest), recorded(uri)) == []


def test_wrong_filters_are_reported_together(uri: str, tmp_path: Path) -> None:
    """Everything wrong on the command line is reported at once, with 2 and no traceback."""
    with StaticServer() as server:
        config = server.write_config(tmp_path, uri)
        done = invoke(
            "backfill", "--config", config, "--since", "soon", "--until", "x", "--status", "lost"
        )
        assert server.asked == ()
    assert done.exit_code == 2
    for word in ("--since", "--until", "--status"):
        assert word in done.stderr
    assert "Traceback" not in done.output


# Output for programs


def test_json_is_one_document(uri: str, tmp_path: Path) -> None:
    """With ``--json`` stdout is one JSON document; logs are on stderr."""
    with StaticServer(SHORT) as server:
        config = server.write_config(tmp_path, uri)
        done = invoke("backfill", "--config", config, "--json", "--status", "succeeded")
    document = json.loads(done.stdout)
    assert done.exit_code == 0
    assert document["ok"] is True
    jobs = {provider["provider"]: provider["jobs"] for provider in document["providers"]}
    succeeded = sum(case.job["status"] == "succeeded" for case in SHORT)
    assert jobs["openai"] == {"new": succeeded, "updated": 0, "unchanged": 0, "failed": 0}
    assert jobs["mistral"]["new"] == 1
    assert "job recorded" in done.stderr


def test_json_tells_of_a_failure(uri: str, tmp_path: Path) -> None:
    """With ``--json`` a failure is in the document, which is still the only text on stdout."""
    with StaticServer(CASES[:3], hook=gone(CASES[2].id)) as server:
        config = server.write_config(tmp_path, uri)
        done = invoke("backfill", "--config", config, "--json")
    document = json.loads(done.stdout)
    assert done.exit_code == 0  # the list has the job, and only its parts are gone
    assert document["ok"] is True
    left_out = [each for provider in document["providers"] for each in provider["left_out"]]
    assert {each["job"] for each in left_out} == {CASES[2].id}


# One bad job


def gone(job_id: str) -> Callable[[Asked], Answer | None]:
    """Return a hook that answers everything about one job with 404."""

    def hook(asked: Asked) -> Answer | None:
        if f"/fine_tuning/jobs/{job_id}" in asked.path:
            return json_answer({"error": {"message": "No such job", "code": None}}, 404)
        return None

    return hook


def test_a_job_whose_data_are_not_there_loses_only_itself(uri: str, tmp_path: Path) -> None:
    """A job that is gone, or hidden by a proxy's page, is recorded from the list.

    Both are reported with the reason, the first also with its missing parts, and every other job is
    recorded as it is.
    """
    lost, hidden = CASES[17], CASES[50]
    page = Answer(body=b"<html><body>Welcome to the hotel WLAN</body></html>", kind="text/html")
    is_gone = gone(lost.id)

    def hook(asked: Asked) -> Answer | None:
        return page if hidden.id in asked.path else is_gone(asked)

    with StaticServer(FEW, hook=hook) as server:
        done = invoke("backfill", "--config", server.write_config(tmp_path, uri))
    assert done.exit_code == 0
    assert lost.id in done.stdout
    assert "404" in done.stdout
    assert "text/html instead of JSON" in done.stdout
    found = recorded(uri)
    assert "fine_tuning_incomplete" in found.pop(lost.id).tags
    del found[hidden.id]
    assert differences(expected(case for case in FEW if case.id in found), found) == []
    assert len(found) == len(FEW) - 2


WRONG_TYPES: list[Json] = [
    {"created_at": "yesterday"},
    {"created_at": [1, 2]},
    {"created_at": -5},
    {"created_at": 1e300},
    {"created_at": 1e307},
    {"created_at": 10**400},
    {"finished_at": 1e307},
    {"created_at": {"$date": 1}},
    {"finished_at": "never"},
    {"status": 7},
    {"status": None},
    {"status": ["running"]},
    {"hyperparameters": [1, 2]},
    {"hyperparameters": {"n_epochs": {"deep": [None]}, "": 1, "a@b": 2, "n" * 300: 3}},
    {"error": "it broke"},
    {"error": {"code": 5, "message": ["a", "b"]}},
    {"result_files": "file-1"},
    {"result_files": [None, 3]},
    {"method": "supervised"},
    {"method": {"type": 4}},
    {"method": {"type": "dpo", "dpo": {"hyperparameters": [1]}}},
    {"trained_tokens": "many"},
    {"trained_tokens": 1e300},
    {"seed": 2**70},
    {"seed": {}},
    {"user_provided_suffix": 12},
    {"user_provided_suffix": "\x1b[31mred\x07\n\n" + "x" * 9000},
    {"user_provided_suffix": "\ud800"},
    {"model": {"name": "gpt"}},
    {"model": "m" * 9000},
    {"validation_file": 3},
]


def with_changes(case: Case, changes: Json) -> Case:
    """Return ``case`` with other values in its job."""
    case.job |= changes
    return case


def test_wrong_types_do_not_lose_a_job(uri: str, tmp_path: Path) -> None:
    """A value of a wrong type costs only that value, and every job has its run."""
    odd = [
        with_changes(openai_case(number, "queued"), changes)
        for number, changes in enumerate(WRONG_TYPES, start=1)
    ]
    good = CASES[10:14]
    with StaticServer([*odd, *good]) as server:
        config = server.write_config(tmp_path, uri, providers=["openai"])
        done = invoke("backfill", "--config", config)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    found = recorded(uri)
    assert {case.id for case in odd} <= found.keys(), done.output
    assert "Traceback" not in done.output
    others = {case.id: run for case in good if (run := found.get(case.id))}
    assert differences(expected(good), others) == []


ODD_ROWS: list[dict[str, list[object]]] = [
    {"checkpoints": [{"step_number": "three", "metrics": {"train_loss": 1.0}}]},
    {"checkpoints": [None, 7, "x", [], {}]},
    {"checkpoints": [{"step_number": 2**80, "metrics": {"train_loss": 1.0}}]},
    {"checkpoints": [{"step_number": 3, "metrics": [1, 2]}]},
    {"checkpoints": [{"step_number": 3, "created_at": 1e307, "metrics": {"train_loss": 1}}]},
    {"checkpoints": [{"step_number": 3, "metrics": {"train_loss": 10**400, "other": "x"}}]},
    {"checkpoints": [{"step_number": 3, "metrics": {"bad@name": 1.0, "": 2.0}}]},
    {"events": [{"type": "metrics", "data": {"step": 2**63, "train_loss": 1.0}}]},
    {"events": [{"type": "metrics", "data": {"step": 1e300, "train_loss": 1.0}}]},
    {"events": [{"type": "metrics", "data": {"step": -1, "train_loss": 1.0}}]},
    {"events": [{"type": "metrics", "created_at": 1e307, "data": {"step": 1, "a": 1.0}}]},
    {"events": [{"type": "metrics", "data": [1]}, 5, None, {"type": 3, "data": "x"}]},
    {"events": [{"type": "metrics", "data": {"step": 2, "s": {"g": [1.0, "x", [2.0]]}}}]},
]


def test_wrong_types_deep_in_a_job_leave_its_good_points(uri: str, tmp_path: Path) -> None:
    """A row of a wrong kind among a job's points costs that row; the job has all its others."""
    cases = [openai_case(n, "running", steps=30, done=8) for n in range(1, len(ODD_ROWS) + 1)]
    for case, rows in zip(cases, ODD_ROWS, strict=True):
        for name, odd in rows.items():
            listed = getattr(case, name)
            listed[len(listed) // 2 : len(listed) // 2] = odd
    with StaticServer(cases) as server:
        config = server.write_config(tmp_path, uri, providers=["openai"])
        done = invoke("backfill", "--config", config)
    assert done.exit_code == 0, done.output
    found = recorded(uri)
    for case, rows in zip(cases, ODD_ROWS, strict=True):
        there = {(name, step) for name, step, _, _ in found[case.id].rows}
        assert case.curve.keys() <= there, rows


def test_rows_that_are_no_jobs_are_reported(uri: str, tmp_path: Path) -> None:
    """A row of the list that cannot be a job gives exit code 1, and all jobs are copied."""
    good = CASES[:3]
    rows: list[object] = [
        None,
        5,
        "ftjob",
        [],
        {},
        {"id": None},
        {"id": ""},
        {"id": 4},
        {"object": "x"},
    ]

    def hook(asked: Asked) -> Answer | None:
        if asked.path == "/openai/v1/fine_tuning/jobs":
            listed = [*rows, *(case.job for case in good)]
            return json_answer({"object": "list", "data": listed, "has_more": False})
        return None

    with StaticServer(good, hook=hook) as server:
        done = invoke("backfill", "--config", server.write_config(tmp_path, uri), "--json")
    assert done.exit_code == 1
    failures = [f for each in json.loads(done.stdout)["providers"] for f in each["failures"]]
    assert [failure["job"] for failure in failures] == [""] * len(rows)
    assert differences(expected(good), recorded(uri)) == []


# One bad provider


def test_a_withdrawn_service_does_not_stop_the_other(uri: str, tmp_path: Path) -> None:
    """A provider that answers 410 is reported once, and the other one's jobs are copied."""

    def hook(asked: Asked) -> Answer | None:
        return json_answer({"detail": "Gone"}, 410) if "/mistral/" in asked.path else None

    cases = FEW[2:6]
    with StaticServer([*cases, *FEW[6:]], hook=hook) as server:
        done = invoke("backfill", "--config", server.write_config(tmp_path, uri))
        assert len([asked for asked in server.asked if "/mistral/" in asked.path]) == 1
    assert done.exit_code == 1
    assert done.output.count("has withdrawn") == 1
    assert differences(expected(cases), recorded(uri)) == []


def test_keys_appear_nowhere(uri: str, tmp_path: Path) -> None:
    """A key shows in no output and in no row, even if the provider sends it back."""
    echo = openai_case(1, "failed", error={"code": None, "message": f"Bad key {KEY} given"})
    name = openai_case(2, "succeeded", steps=5, user_provided_suffix=f"my {KEY}", metadata={KEY: 1})
    name.checkpoints[0]["metrics"][KEY] = 1.5
    lost = openai_case(3, "running", steps=9)

    def hook(asked: Asked) -> Answer | None:
        sent = asked.headers.get("authorization", "")
        if "/mistral/" in asked.path:
            return json_answer({"message": f"Cannot accept {sent}", "request_id": "1"}, 401)
        if lost.id in asked.path:
            reply = json_answer({"error": {"message": f"No {sent}", "code": KEY}}, 403)
            return Answer(status=403, body=reply.body, headers={"x-request-id": KEY})
        return None

    database = path_of(uri)
    with StaticServer([echo, name, lost], hook=hook) as server:
        config = server.write_config(tmp_path, uri)
        plain = run("backfill", "--config", config)
        dry = invoke("backfill", "--config", config, "--dry-run", "--json")
    assert plain.returncode == dry.exit_code == 1
    assert "403" in plain.stdout
    assert "401" in plain.stdout
    for output in (plain.stdout, plain.stderr, dry.stdout, dry.stderr):
        assert KEY not in output
    json.loads(dry.stdout)
    assert KEY not in dump(database)
    assert KEY.encode() not in database.read_bytes()
    assert {echo.id, name.id} <= recorded(uri).keys()


# Ctrl-C


def test_ctrl_c_ends_in_order(uri: str, tmp_path: Path) -> None:
    """Ctrl-C shows how to continue, without a traceback, and the next backfill completes."""

    def hook(asked: Asked) -> Answer | None:
        if asked.serial == 12:
            process.send(signal.SIGINT)
        return None

    cases = SHORT[::2]
    with StaticServer(cases) as server:
        # Fewer workers than jobs, because those in hand are finished.
        config = server.write_config(tmp_path, uri, poll={"workers": 2})
        with started("backfill", "--config", config) as process:
            server.hook = hook
            code = process.end()
        assert code == 1, process.said
        assert "Run it again" in process.said
        assert "Traceback" not in process.said
        assert len(recorded(uri)) < len(cases)
        server.hook = None
        done = invoke("backfill", "--config", config)
    assert done.exit_code == 0, done.output
    assert differences(expected(cases), recorded(uri)) == []


def test_many_providers_share_one_database(uri: str, tmp_path: Path) -> None:
    """Four accounts with sixteen workers each record all their jobs in one database at once."""
    cases = [openai_case(number, "queued") for number in range(1, 6)]
    with StaticServer(cases) as server:
        account = server.entry("openai")
        teams = {f"team-{n}": {**account, "experiment": f"team {n}"} for n in range(4)}
        done = invoke("backfill", "--config", write_config(tmp_path, uri, teams))
    assert done.exit_code == 0, done.output
    for n in range(4):
        assert recorded(uri, f"team {n}").keys() == {case.id for case in cases}


# Freedom of the documented API


def test_a_provider_may_give_shorter_mistral_pages(uri: str, tmp_path: Path) -> None:
    """All jobs are found if Mistral's pages are shorter than requested."""
    with StaticServer(mistral_cases(), largest_page=5) as server:
        config = server.write_config(tmp_path, uri, providers=["mistral"])
        done = invoke("backfill", "--config", config)
    assert done.exit_code == 0, done.output
    assert differences(expected(mistral_cases()), recorded(uri)) == []


def test_many_mistral_pages_are_read(tmp_path: Path) -> None:
    """A Mistral history of several pages is read to its end."""
    cases = [mistral_case(number, "QUEUED") for number in range(1, 121)]
    with StaticServer(cases) as server:
        uri = f"sqlite:///{tmp_path}/none.db"
        config = server.write_config(tmp_path, uri, providers=["mistral"])
        done = invoke("backfill", "--config", config, "--dry-run", "--json")
    (provider,) = json.loads(done.stdout)["providers"]
    assert sorted(plan["job"] for plan in provider["plans"]) == sorted(case.id for case in cases)


def test_events_of_one_second_may_come_in_any_order(uri: str, tmp_path: Path) -> None:
    """Events of one second give the whole curve, in whichever order they are listed."""
    case = openai_case(1, "running", steps=130, done=108, seconds_per_step=0.1)
    # The first page of 100 ends with step 1: steps 2 to 9, of the same second, are on the next.
    case.events.sort(
        key=lambda event: (-event["created_at"], (event["data"] or {}).get("step", 999))
    )
    assert case.events[99]["data"]["step"] == 1
    with StaticServer([case]) as server:
        config = server.write_config(tmp_path, uri, providers=["openai"])
        done = invoke("backfill", "--config", config)
    assert done.exit_code == 0, done.output
    assert differences(expected([case]), recorded(uri)) == []


def test_whole_validation_of_early_epochs_is_kept(uri: str, tmp_path: Path) -> None:
    """The result file does not replace an early value that only events have."""
    case = openai_case(1, "succeeded", steps=300, epochs=6, result="base64")
    with StaticServer([case]) as server:
        config = server.write_config(tmp_path, uri, providers=["openai"])
        done = invoke("backfill", "--config", config)
    assert done.exit_code == 0, done.output
    assert differences(expected([case]), recorded(uri)) == []


def test_a_curve_that_begins_at_step_0_is_whole(uri: str, tmp_path: Path) -> None:
    """A point at step 0 is recorded even where the page before it ends with step 1."""
    case = openai_case(1, "running", steps=200, done=100)
    case.curve["train_loss", 0] = 3.5
    values = {"step": 0, "total_steps": 200, "train_loss": 3.5}
    case.events.insert(100, case.events[99] | {"id": "ftevent-zero", "data": values})
    with StaticServer([case]) as server:
        config = server.write_config(tmp_path, uri, providers=["openai"])
        done = invoke("backfill", "--config", config)
    assert done.exit_code == 0, done.output
    assert differences(expected([case]), recorded(uri)) == []


def test_an_odd_id_has_one_run(uri: str, tmp_path: Path) -> None:
    """Three backfills make at most one run of a job, whatever characters its id holds."""
    odd = {
        "mark": "ftjob-\u200ehidden",
        "control": "ftjob-\u0085next",
        "surrogate": "ftjob-\ud800half",
        "blanks": " ftjob-blank ",
    }
    cases = [
        openai_case(number, "queued", id=job_id, user_provided_suffix=name)
        for number, (name, job_id) in enumerate(odd.items(), start=1)
    ]
    with StaticServer(cases) as server:
        config = server.write_config(tmp_path, uri, providers=["openai"])
        for _ in range(3):
            invoke("backfill", "--config", config)
    # Rows with any of the other ids count as unreadable.
    job_ids = [run.data.tags["fine_tuning_job_id"] for run in active_runs(uri)]
    assert job_ids == [odd["blanks"]]


def test_jobs_that_tell_no_time_at_all(uri: str, tmp_path: Path) -> None:
    """A job without any time has a run that ends no earlier than it starts, and stays as it is."""
    case = Case("openai", {"id": "ftjob-timeless", "object": "fine_tuning.job", "status": "failed"})
    with StaticServer([case]) as server:
        config = server.write_config(tmp_path, uri, providers=["openai"])
        assert invoke("backfill", "--config", config).exit_code == 0
        before = dump(path_of(uri))
        assert invoke("backfill", "--config", config).exit_code == 0
    assert dump(path_of(uri)) == before
    run_of = recorded(uri)[case.id]
    assert run_of.end_time is not None
    assert run_of.start_time > BORN * 1000
    assert run_of.end_time >= run_of.start_time


@pytest.mark.parametrize("status", [401, pytest.param(503, marks=pytest.mark.soak)])
def test_a_refused_key_leaves_no_empty_database(tmp_path: Path, status: int) -> None:
    """A provider that refuses the key, or is down, leaves no database behind."""

    def refuse(_asked: Asked) -> Answer:
        return json_answer({"error": {"message": "not now"}}, status)

    with StaticServer(FEW, hook=refuse) as server:
        config = server.write_config(tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}")
        done = invoke("backfill", "--config", config)
    assert done.exit_code == 1
    assert str(status) in done.stdout
    assert not (tmp_path / "mlflow.db").exists()
