"""A job's record among its run's artifacts: complete, unchanged and bounded."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from structlog.testing import capture_logs

from bridge import errors
from bridge.daemon.log_events import TroubleLog
from bridge.plan.routing import Router
from bridge.simulator import Reply, Request, Simulator, json_reply
from bridge.simulator.datasets import examples
from bridge.simulator.openai_objects import event_objects, model_name
from bridge.sync.archive import LARGEST_FILE, laid_out
from bridge.sync.outcome import Result
from bridge.tracking import Tracking
from tests.support.artifacts import archived
from tests.support.processes import dump, invoke
from tests.support.recorded import active_runs, recorded
from tests.support.static_server import StaticServer, mistral_case, openai_case
from tests.support.world import KEY, Clock, job, make_sync

# The folder


def fetching(
    files: dict[str, Iterable[bytes]], error: errors.BridgeError | None = None
) -> Callable[[str], AbstractContextManager[Iterator[bytes]]]:
    """Return a function that opens files by id, and fails at any other id."""

    @contextlib.contextmanager
    def fetch(file_id: str) -> Iterator[Iterator[bytes]]:
        if file_id not in files:
            raise error or errors.NotFound("It is gone")
        yield iter(files[file_id])

    return fetch


def files_below(folder: Path) -> dict[str, bytes]:
    """Return contents by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_everything_is_there_with_its_checksum_and_gone_afterwards() -> None:
    """Documents are stored unchanged, and the manifest names owner and kind of each file."""
    fetch = fetching({"file-a": [b"one\n", b"two\n"], "file-b": []})
    with laid_out({"job.json": b"{}\n"}, ["file-a", "file-b"], fetch) as archive:
        found = files_below(archive.folder)
        assert archive.missing == []
    assert not archive.folder.exists()
    manifest = json.loads(found.pop("datasets.json"))
    assert found == {
        "job.json": b"{}\n",
        "datasets/1-file-a.jsonl": b"one\ntwo\n",
        "datasets/2-file-b.jsonl": b"",
    }
    assert manifest == [
        {
            "file": file_id,
            "name": name,
            "bytes": len(found[name]),
            "sha256": hashlib.sha256(found[name]).hexdigest(),
        }
        for file_id, name in (
            ("file-a", "datasets/1-file-a.jsonl"),
            ("file-b", "datasets/2-file-b.jsonl"),
        )
    ]


def test_a_file_without_end_is_left_out() -> None:
    """A file without end is read up to the limit, which memory and disk can hold."""
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        for taken in range(1, 1000):  # noqa: B007 - counted for the end of the test
            yield b"x" * 1000

    fetch = fetching({"file-endless": endless(), "file-a": [b"a" * 10_000]})
    with laid_out({}, ["file-endless", "file-a"], fetch, largest=10_000) as archive:
        (entry,) = json.loads((archive.folder / "datasets.partial.json").read_text())
        assert entry["file"] == "file-a", "a file of just that size is not too large"
        assert sorted(path.name for path in (archive.folder / "datasets").iterdir()) == [
            "1-file-endless.too-large",
            "2-file-a.jsonl",
        ], "as many as were asked for: none is requested again"
        (sentence,) = archive.missing
    assert "file-endless" in sentence
    assert "larger" in sentence
    assert taken == 11
    assert LARGEST_FILE == 512 * 2**20


@pytest.mark.parametrize(
    "error", [errors.NotFound, errors.Forbidden, errors.Refused, errors.Withdrawn]
)
def test_a_file_that_cannot_be_had_is_a_sentence(error: type[errors.BridgeError]) -> None:
    """A file that is gone for good gives a sentence, and the others are stored."""
    fetch = fetching({"file-b": [b"b"]}, error("It is gone"))
    with laid_out({"job.json": b"{}"}, ["file-a", "file-b"], fetch) as archive:
        assert archive.missing == ["file file-a is not archived: It is gone"]
        assert files_below(archive.folder).keys() == {
            "job.json",
            "datasets.partial.json",
            "datasets/2-file-b.jsonl",
        }


@pytest.mark.parametrize("error", [errors.NoAnswer, errors.ServerFailed, errors.Throttled])
def test_a_file_that_may_be_had_later_is_an_error(error: type[errors.BridgeError]) -> None:
    """A file that breaks off is left to the next pass, and no half of it is stored."""

    def broken() -> Iterator[bytes]:
        yield b"the beginning"
        raise error("It broke off")

    with (
        pytest.raises(error),
        laid_out({"job.json": b"{}"}, ["file-a"], fetching({"file-a": broken()})),
    ):
        pytest.fail("a part of the archive was handed out")


HOSTILE = [
    "../../../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a/b",
    "a\\b",
    "C:\\x",
    "nul\x00byte",
    "line\nfeed",
    "x" * 5000,
    "\ud800",
    "file-é",
    "datasets.json",
]


@given(st.lists(st.text() | st.sampled_from(HOSTILE), max_size=6))
def test_no_id_leads_out_of_the_folder(file_ids: list[str]) -> None:
    """Every file is in one folder under a plain name, whatever its provider calls it."""
    contents = [f"content {n}".encode() for n in range(len(file_ids))]
    replies = iter(contents)

    @contextlib.contextmanager
    def fetch(_: str) -> Iterator[Iterator[bytes]]:
        yield iter([next(replies)])

    with laid_out({}, file_ids, fetch) as archive:
        found = files_below(archive.folder)
    manifest = json.loads(found.pop("datasets.json", "[]"))
    assert sorted(found.values()) == contents
    assert all(name.startswith("datasets/") for name in found)
    assert all(name.isascii() and name.isprintable() and len(name) < 150 for name in found)
    assert all(name.count("/") == 1 and "\\" not in name for name in found)
    assert [entry["file"] for entry in manifest] == file_ids
    assert [found[entry["name"]] for entry in manifest] == contents


# Stored files


def rows(lines: bytes) -> list[object]:
    """Return the documents in a JSON Lines file."""
    assert lines.endswith(b"\n")
    return [json.loads(line) for line in lines.splitlines()]


def test_without_being_asked_a_backfill_archives_what_the_provider_said(
    uri: str, tmp_path: Path
) -> None:
    """A backfill archives an ended job with its checkpoints, its events and its result file."""
    base64, plain = (
        openai_case(1, "succeeded", steps=130, result="base64"),
        openai_case(2, "succeeded", steps=130, result="plain"),
    )
    failed = openai_case(3, "failed", error={"message": "It broke — “really”."})
    running = openai_case(4, "running", steps=30, done=10)
    mistral = mistral_case(5, "SUCCESS", steps=30)
    with StaticServer([base64, plain, failed, running, mistral]) as server:
        done = invoke("backfill", "--config", server.write_config(tmp_path, uri))
    assert done.exit_code == 0, done.output
    for case in (base64, plain, failed, mistral):
        found = archived(uri, case.id)
        reported = json.loads(found.pop("job.json"))
        assert {name: reported[name] for name in case.job} == case.job
        assert rows(found.pop("events.jsonl")) == case.events
        if case.checkpoints:
            assert rows(found.pop("checkpoints.jsonl")) == case.checkpoints
        if case.files:
            # Both kinds give the same table.
            lines = found.pop("result-file.csv").decode().splitlines()
            assert lines[0].startswith("step,train_loss")
            assert len(lines) == 131
        assert not found
    assert archived(uri, running.id) == {}, "a job is archived when it has ended"


def test_it_can_be_switched_off(uri: str, tmp_path: Path) -> None:
    """With ``archive: false`` no artifact is written, no dataset included, and no file is read."""
    case = openai_case(1, "succeeded", steps=30, result="base64")
    with StaticServer([case]) as server:
        off = {"archive": False, "archive_datasets": True}
        config = server.write_config(tmp_path, uri, mlflow=off)
        assert invoke("backfill", "--config", config).exit_code == 0
        assert not [asked.path for asked in server.asked if "/files/" in asked.path]
    assert recorded(uri)[case.id].status == "FINISHED"
    assert archived(uri, case.id) == {}


def test_the_archive_of_a_short_job_costs_three_requests(
    tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """The archive of a short job costs three requests: checkpoints, events and result file.

    The end dates of models cost one request for all jobs.
    """
    with Simulator(jobs=[job("ftjob-a"), job("ftjob-b")], clock=clock) as simulator:
        clock.now += 1000
        sync = make_sync(simulator, tracking, executor, clock, archive=True)
        assert sync.run().jobs[Result.NEW] == 2
        first, *others = simulator.requests
        assert first.path.endswith("/fine_tuning/jobs")
        assert Counter(request.path.rsplit("/", 1)[1] for request in others) == Counter(
            ["checkpoints", "events", "content"] * 2 + ["models"]
        )
        sync.run()
        make_sync(simulator, tracking, executor, clock, archive=True).run()
        later = simulator.requests[8:]
        # A new process requests them once more.
        assert [request.path.rsplit("/", 1)[1] for request in later] == ["jobs", "models", "jobs"]


def test_a_job_that_was_followed_live_is_archived_whole(
    uri: str, clock: Clock, executor: ThreadPoolExecutor, other_uri: str
) -> None:
    """A job that was followed has all events in its archive, although each pass read only new ones.

    Its archive equals that of a backfill of the same job.
    """
    one = job("ftjob-live", total_steps=330, validation=True, late_seconds=30.0)
    with Simulator(jobs=[one], clock=clock) as simulator:
        sync = make_sync(simulator, Tracking(uri), executor, clock, archive=True)
        for moment in (one.step_at(1), one.step_at(160), one.step_at(330), one.settled_at + 1):
            clock.now = moment
            assert sync.run().is_well
            assert archived(uri, one.id) == {}
        clock.now = one.settled_at + 31
        assert sync.run().is_well
        live = archived(uri, one.id)
        assert rows(live["events.jsonl"]) == event_objects(one, clock.now)
        assert recorded(uri)[one.id].status == "FINISHED"
        make_sync(simulator, Tracking(other_uri), executor, clock, archive=True).run()
    assert archived(other_uri, one.id) == live


def test_a_job_that_ends_while_it_is_looked_at_is_archived(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A job that ends during a pass is archived with its own reply, which has ended."""
    hosted = job("11111111-2222-3333-4444-555555555555", "mistral")

    def ends(request: Request) -> Reply | None:
        if request.path.endswith(hosted.id):
            clock.now = hosted.settled_at + 1
        return None

    with Simulator(jobs=[hosted], clock=clock, intercept=ends) as simulator:
        clock.now = hosted.started_at + 1
        sync = make_sync(simulator, tracking, executor, clock, kind="mistral", archive=True)
        assert sync.run().is_well
        assert sum(hosted.id in request.path for request in simulator.requests) == 1
    assert recorded(uri)[hosted.id].status == "FINISHED"
    kept = archived(uri, hosted.id)
    assert json.loads(kept["job.json"])["status"] == "SUCCESS"
    assert len(kept["checkpoints.jsonl"].splitlines()) == 12


def test_datasets_are_archived_where_that_is_asked_for(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """Training and validation files are stored byte for byte if datasets are archived."""
    jobs = [job("ftjob-a"), job("11111111-2222-3333-4444-555555555555", "mistral")]
    with Simulator(jobs=jobs, clock=clock) as simulator:
        clock.now += 1000
        for one in jobs:
            sync = make_sync(
                simulator,
                tracking,
                executor,
                clock,
                kind=one.provider,
                archive=True,
                archive_datasets=True,
            )
            assert sync.run().jobs[Result.NEW] == 1
            found = archived(uri, one.id)
            manifest = json.loads(found["datasets.json"])
            contents = [found[entry["name"]] for entry in manifest]
            assert contents == [examples(one, "training"), examples(one, "validation")]
            assert [entry["sha256"] for entry in manifest] == [
                hashlib.sha256(content).hexdigest() for content in contents
            ]
            assert "job.json" in found
            (run,) = (r for r in active_runs(uri) if r.data.tags["fine_tuning_job_id"] == one.id)
            names = [each.dataset.name for each in run.inputs.dataset_inputs] if run.inputs else []
            assert sorted(entry["file"] for entry in manifest) == sorted(names)
        paths = Counter(request.path for request in simulator.requests if "/files/" in request.path)
        assert max(paths.values()) == 1, "a file was asked for twice"


def test_a_dataset_that_is_gone_is_a_sentence(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A dataset that its owner deleted gives a sentence, and the rest is archived."""
    one = job("ftjob-a")

    def without_training_file(request: Request) -> Reply | None:
        gone = request.path.endswith(f"/{ids[0]}/content")
        return json_reply({"error": {"message": "No such File"}}, 404) if gone else None

    ids = ["unknown yet"]
    with Simulator(jobs=[one], clock=clock, intercept=without_training_file) as simulator:
        clock.now += 1000
        # The dry run names the files that a pass would request.
        archiving = partial(make_sync, archive=True, archive_datasets=True)
        dry = archiving(simulator, tracking, executor, clock).run(dry_run=True)
        ids[0] = dry.plans[0].files[0]
        report = archiving(simulator, tracking, executor, clock).run()
    assert report.is_well
    ((job_id, sentence),) = report.skipped
    assert job_id == one.id
    assert ids[0] in sentence
    assert "404" in sentence
    found = archived(uri, one.id)
    assert "datasets.json" not in found
    (entry,) = json.loads(found["datasets.partial.json"])
    assert found[entry["name"]] == examples(one, "validation")
    assert recorded(uri)[one.id].status == "FINISHED"


def test_hostile_file_ids_stay_in_the_archive(new_uri: str, tmp_path: Path) -> None:
    """Files with hostile ids reach no place outside the archive, here or in MLflow."""
    evil, dots = "../../../../evil", ".."
    case = openai_case(1, "succeeded", steps=5, training_file=evil, validation_file=dots)
    case.files |= {evil: b"evil content", dots: b"more of it"}
    case.job["result_files"] = ["../events"]
    with StaticServer([case]) as server:
        config = server.write_config(tmp_path, new_uri, mlflow={"archive_datasets": True})
        done = invoke("backfill", "--config", config)
    assert done.exit_code == 0, done.output
    found = archived(new_uri, case.id)
    assert {entry["file"] for entry in json.loads(found["datasets.json"])} == {evil, dots}
    assert {b"evil content", b"more of it"} <= set(found.values())
    written = {path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".db"}
    written -= {tmp_path / "bridge.yaml"}
    assert len(written) == len(found)
    assert all("/artifacts/provider/" in path.as_posix() for path in written)


def test_no_key_is_in_the_archive(
    new_uri: str, tmp_path: Path, clock: Clock, executor: ThreadPoolExecutor
) -> None:
    """A key that the provider repeats is masked in the archive, whatever the reply."""
    asked = threading.Event()

    def echo(request: Request) -> Reply | None:
        if not request.path.endswith("/content"):
            return None
        asked.set()
        return Reply(body=f"step,train_loss\n1,0.5\n# {request.headers['authorization']}".encode())

    one = job("ftjob-a", metadata={"note": f"used {KEY}"})
    with Simulator(jobs=[one], clock=clock, intercept=echo) as simulator:
        clock.now += 1000
        assert make_sync(simulator, Tracking(new_uri), executor, clock, archive=True).run().is_well
    assert asked.is_set()
    found = archived(new_uri, one.id)
    assert json.loads(found["job.json"])["metadata"] == {"note": "used ***"}
    assert found["result-file.csv"].endswith(b"Bearer ***")
    everything = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in content for content in everything)


# An unusable artifact store


@pytest.fixture
def blocked(uri: str) -> Path:
    """Put a file in the place of the artifacts' folder; the store works again without it."""
    path = Path(uri.removeprefix("sqlite:///")).with_name("mlruns")
    path.write_text("in the way")
    return path


def test_a_store_that_is_down_delays_the_final_status_and_nothing_else(
    uri: str, tracking: Tracking, clock: Clock, executor: ThreadPoolExecutor, blocked: Path
) -> None:
    """A store that is down delays only the archive and the final status, and is reported once.

    No dataset is read in vain meanwhile, and the next pass completes the jobs.
    """
    jobs = [job(f"ftjob-{n}", created_at=clock.now + 100 * n) for n in range(4)]
    jobs.append(job("ftjob-child", base_model=model_name(jobs[0], 12), created_at=clock.now + 500))
    news = TroubleLog()
    with Simulator(jobs=jobs, clock=clock) as simulator, capture_logs() as lines:
        clock.now += 2000
        archiving = partial(make_sync, archive=True, archive_datasets=True)
        sync = archiving(simulator, tracking, executor, clock)
        for _ in range(2):
            report = sync.run()
            news.of(report)
            assert {type(error) for _, error in report.failures} == {errors.ArchiveFailed}
            assert len(report.failures) == 5
            assert report.stopped is None
        files = [request.path for request in simulator.requests if "/files/" in request.path]
        assert len(files) == len(jobs) * 2, "more than each pass's result files"
        assert [line["event"] for line in lines] == ["job not recorded"]
        delayed = recorded(uri)
        assert {run.status for run in delayed.values()} == {"RUNNING"}
        assert {len(run.rows) for run in delayed.values()} == {36}
        assert "fine_tuned_from_run" in delayed["ftjob-child"].tags
        assert count_of_ready_models(uri) == 15

        blocked.unlink()
        report = sync.run()
        assert report.is_well
        assert report.jobs[Result.UPDATED] == 5
        for run_id, run in recorded(uri).items():
            assert run.status == "FINISHED"
            assert (run.rows, run.tags) == (delayed[run_id].rows, delayed[run_id].tags)
            assert archived(uri, run_id).keys() >= {"job.json", "events.jsonl", "datasets.json"}
        assert count_of_ready_models(uri) == 15

        before = dump(Path(uri.removeprefix("sqlite:///")))
        requests = len(simulator.requests)
        assert sync.run().is_well
        assert len(simulator.requests) == requests + 1
        assert dump(Path(uri.removeprefix("sqlite:///"))) == before


def count_of_ready_models(uri: str) -> int:
    """Return how many LoggedModels are complete."""
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return sum(model.status.value == "READY" for model in client.search_logged_models(ids))


@pytest.mark.usefixtures("blocked")
def test_a_backfill_tells_of_a_store_that_is_down_in_one_line(uri: str, tmp_path: Path) -> None:
    """A backfill reports a store that is down in one line for all jobs, with exit code 1."""
    cases = [openai_case(n, "succeeded", steps=3) for n in range(1, 9)]
    with StaticServer(cases) as server:
        done = invoke("backfill", "--config", server.write_config(tmp_path, uri))
    assert done.exit_code == 1
    (line,) = (line for line in done.stdout.splitlines() if "artifact store" in line)
    assert "openai 8 jobs: The artifact store" in line
    assert "mlflow.archive: false" in line
    assert recorded(uri).keys() == {case.id for case in cases}


def test_an_archive_over_a_server(uri: str, server: str, clock: Clock) -> None:
    """The files go through MLflow's artifact proxy unchanged, and can be read back."""
    one = job("ftjob-a")
    place = "an archive over a server"
    router = Router(provider="openai", experiment=place)
    with (
        Simulator(jobs=[one], clock=clock) as simulator,
        ThreadPoolExecutor(4) as executor,
    ):
        clock.now += 1000
        archiving = partial(make_sync, archive=True, archive_datasets=True, router=router)
        sync = archiving(simulator, Tracking(server), executor, clock)
        assert sync.run().is_well
        (run,) = active_runs(server, place)
        assert run.info.status == "FINISHED"
        assert run.info.artifact_uri.startswith("mlflow-artifacts:")
        served = archived(server, one.id, place)
        archiving(simulator, Tracking(uri), executor, clock).run()
    assert served.keys() == {
        "job.json",
        "events.jsonl",
        "checkpoints.jsonl",
        "result-file.csv",
        "datasets.json",
        *(entry["name"] for entry in json.loads(served["datasets.json"])),
    }
    assert served == archived(uri, one.id, place)


def test_a_dataset_has_512_mib_at_most() -> None:
    """A dataset is archived up to the documented 512 MiB."""
    assert LARGEST_FILE == 512 * 2**20
