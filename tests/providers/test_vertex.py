"""Vertex AI at the wire: its jobs and its TensorBoards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
import pytest

from bridge import errors
from bridge.http.client import connect
from bridge.model import JobStatus, Meaning
from bridge.plan.metric_names import MetricNames
from bridge.plan.models import best_model
from bridge.providers.credentials import published
from bridge.providers.vertex import Vertex, address
from bridge.redaction import Redactor
from tests.support.contract import JOB, by_id, listed, only, points, read
from tests.support.moments import time
from tests.support.scripted import answer, script
from tests.support.wire_server import CREATED, over
from tests.support.wire_vertex import EXPERIMENT, PLACE, RUN, VertexApi
from tests.support.world import NoSleep

LOSS = "train_total_loss"


@dataclass
class GrowingApi(VertexApi):
    """Serves series that show their length by their last steps."""

    def series(self) -> dict[str, dict[str, object]]:
        """Return series, each with a different last step."""
        return {
            name: row | {"metadata": {"maxStep": str(len(self.values(name)))}}
            for name, row in super().series().items()
        }


def measured(*steps: int, name: str = LOSS) -> list[object]:
    """Return steps that measure one metric."""
    return [VertexApi().checkpoint(step, **{name: step / 16}) for step in steps]


def saved(step: object, **fields: object) -> dict[str, object]:
    """Return a checkpoint of the model."""
    return {"checkpointId": "1", "epoch": "1", "step": step, **fields}


def tuned(*checkpoints: object, **fields: object) -> dict[str, object]:
    """Return the results of a job."""
    return {"model": f"{PLACE}/models/77@1", "checkpoints": list(checkpoints), **fields}


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("us-central1", "https://us-central1-aiplatform.googleapis.com"),
        ("global", "https://aiplatform.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_each_location_has_its_address(location: str, url: str) -> None:
    """A region, a group of regions and the global location each have an address."""
    assert address(location) == url


def test_jobs_are_asked_of_the_version_that_has_all_kinds() -> None:
    """Jobs are requested from v1beta1, because v1 lacks reinforcement tuning."""
    api = VertexApi()
    assert listed(api.provider()) == []
    (request,) = api.requests
    assert request.url.path == "/v1/v1beta1/projects/my-project/locations/us-central1/tuningJobs"
    assert dict(request.url.params) == {"pageSize": "100"}


@pytest.mark.parametrize("order", [1, -1])
def test_jobs_come_newest_first_whatever_the_order_of_the_lists(order: int) -> None:
    """Jobs come newest first: a list that does not descend is read to its end."""
    api = VertexApi()
    rows = [api.row(f"{n:03}", createTime=time(CREATED + n)) for n in range(150)][::order]
    api.jobs = list(rows)
    first = next(iter(api.provider().pages()))
    assert first.jobs[0].id == "149"
    assert len(api.requests) == (2 if order == 1 else 1)
    assert [job.id for job in listed(api.provider())] == [f"{n:03}" for n in range(149, -1, -1)]


@pytest.mark.parametrize(
    ("spec", "method", "params"),
    [
        ("supervisedTuningSpec", "supervised", {"exportLastCheckpointOnly": True}),
        ("preferenceOptimizationSpec", "preference", {}),
        ("reinforcementTuningSpec", "reinforcement", {}),
        ("distillationSpec", "distillation", {"baseTeacherModel": "gemini-2.5-pro"}),
        ("fullFineTuningSpec", "full fine-tuning", {}),
        ("partnerModelTuningSpec", "partner model", {"tuningMode": "TUNING_MODE_FULL"}),
        ("newTuningSpec", None, {}),
    ],
)
def test_each_kind_of_job_tells_its_params(
    spec: str, method: str | None, params: dict[str, object]
) -> None:
    """Each kind of job has its params under their own names, without rewards and datasets."""
    api = VertexApi()
    row = api.row(JOB)
    del row["supervisedTuningSpec"]
    chosen = {"epochCount": "4", "learningRateMultiplier": 0.5, "odd": None, "deep": {"a": 1}}
    asked = {"hyperParameters": chosen, "singleRewardConfig": {"a": "b"}, **params}
    api.jobs = [row | {"encryptionSpec": {"kmsKeyName": "k"}, spec: asked}]
    reported = {"epochCount": "4", "learningRateMultiplier": 0.5, **params}
    assert only(api).params == reported | ({"method": method} if method else {})
    assert only(api).epochs == 4


def test_open_models_and_models_that_go_on() -> None:
    """The base model is the model of the job that this one continues, if there is one."""
    api = VertexApi()
    going_on = {"tunedModelName": f"{PLACE}/models/5@1", "checkpointId": "3", "baseModel": "m"}
    row = api.row(JOB) | {"baseModel": None, "preTunedModel": going_on}
    opened = api.row("open") | {
        "baseModel": "meta/llama3_3@llama-3.3-70b-instruct",
        "customBaseModel": "gs://bucket/weights",
    }
    api.jobs = [row, opened]
    first, second = listed(api.provider())
    assert first.base_model == f"{PLACE}/models/5@1"
    assert second.base_model == "meta/llama3_3@llama-3.3-70b-instruct"
    assert second.params["customBaseModel"] == "gs://bucket/weights"


@pytest.mark.parametrize("word", sorted(VertexApi.words - {"JOB_STATE_UNSPECIFIED"}))
def test_a_result_counts_after_success_only(word: str) -> None:
    """A result counts only after success: before, and after a failure, its model answers 404."""
    api = VertexApi()
    api.jobs = [api.row(JOB, state=word, endTime=time(CREATED + 90))]
    job = only(api)
    is_there = word in {"JOB_STATE_SUCCEEDED", "JOB_STATE_PARTIALLY_SUCCEEDED"}
    assert job.fine_tuned_model == (f"{PLACE}/models/77@1" if is_there else None)
    assert job.trained_tokens == (3000 if is_there else None), "of three epochs"
    assert job.finished_at == ((CREATED + 90) * 1000 if job.status.is_final else None)


def test_a_failure_tells_code_and_sentence() -> None:
    """A failure has code and sentence; an unknown code stays a number."""
    api = VertexApi()
    for code, said in ((8, "RESOURCE_EXHAUSTED: no quota"), (99, "99: no quota")):
        error = {"code": code, "message": "no quota", "details": []}
        api.jobs = [api.row(JOB, state="JOB_STATE_FAILED", error=error)]
        assert only(api).error == said


def test_checkpoints_have_the_metrics_and_the_time_of_their_steps() -> None:
    """A checkpoint has the metrics and the time of its step, and a name as soon as there is one."""
    api = VertexApi()
    checkpoints = (saved("4", endpoint=f"{PLACE}/endpoints/9"), saved("8", checkpointId="2"))
    api.checkpoints = measured(2, 4, 8)
    for state, second in (
        ("JOB_STATE_RUNNING", None),
        ("JOB_STATE_SUCCEEDED", f"{PLACE}/models/77@1/checkpoints/2"),
    ):
        api.jobs = [api.row(JOB, state=state, tunedModel=tuned(*checkpoints))]
        snapshot = read(api.provider())
        found = [(c.id, c.step, c.model, dict(c.metrics)) for c in snapshot.checkpoints]
        assert found == [
            ("1", 4, f"{PLACE}/endpoints/9", {LOSS: 0.25}),
            ("2", 8, second, {LOSS: 0.5}),
        ]
        assert {c.created_at for c in snapshot.checkpoints} == {(CREATED + 100) * 1000}
        assert points(snapshot.curve, LOSS) == {2: 0.125, 4: 0.25, 8: 0.5}


def test_checkpoints_do_without_a_curve() -> None:
    """Checkpoints lose their metrics with a missing TensorBoard, but not without curves."""
    api = VertexApi()
    api.jobs = [api.row(JOB, tunedModel=tuned(saved("4")), experiment=None)]
    (found,) = read(api.provider()).checkpoints
    assert (found.step, found.created_at, found.metrics) == (4, None, {})
    api.jobs = [api.row(JOB, tunedModel=tuned(saved("4")))]
    api.checkpoints = measured(2, 4)
    snapshot = read(api.provider(curves=False))
    assert (snapshot.curve, snapshot.checkpoints[0].metrics) == ((), {LOSS: 0.25})


def test_only_series_that_have_grown_are_read_again() -> None:
    """A pass over an unchanged open job costs two requests, and its points stay known."""
    api = GrowingApi()
    api.jobs = [api.row(JOB)]
    api.checkpoints = [*measured(1, 2), *measured(2, name="eval_total_loss")]
    provider = api.provider()

    def requests(*, keep: bool = False) -> list[str]:
        before = len(api.requests)
        snapshot = provider.read(only_job, logged={}, keep=keep)
        assert points(snapshot.curve, LOSS) == {n: n / 16 for n in range(1, len(steps) + 1)}
        assert points(snapshot.curve, "eval_total_loss") == {2: 0.125}
        return [request.url.path.rpartition("/")[2] for request in api.requests[before:]]

    only_job = by_id(provider)
    steps = [1, 2]
    assert requests() == ["tuning-experiment-1", "runs", "timeSeries", "0:read", "1:read"]
    assert requests() == ["runs", "timeSeries"]
    steps = [1, 2, 3]
    api.checkpoints += measured(3)
    assert requests() == ["runs", "timeSeries", "1:read"]
    assert len(requests(keep=True)) == 4, "what is kept is read to its end"


@dataclass
class LostApi(VertexApi):
    """Serves a TensorBoard of which some addresses answer differently."""

    status: int = 404
    lost: str = EXPERIMENT
    said: Mapping[str, object] = field(default_factory=dict)

    def answer(self, path: list[str], query: Mapping[str, str]) -> httpx.Response | None:
        """Return the answer."""
        if "/".join(path[1:]) == self.lost:
            return httpx.Response(self.status, json=self.said)
        return super().answer(path, query)


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("lost", [EXPERIMENT, RUN.rpartition("/")[0], f"{RUN}/timeSeries"])
def test_a_lost_tensorboard_costs_the_curve_and_not_the_job(status: int, lost: str) -> None:
    """A deleted or refused TensorBoard costs the curve, and the checkpoints are read."""
    error = {"error": {"code": status, "message": "no", "status": "ERROR"}}
    api = LostApi(lost=lost, status=status, said=error)
    api.jobs = [api.row(JOB, state="JOB_STATE_SUCCEEDED", tunedModel=tuned(saved("4")))]
    api.checkpoints = measured(4)
    snapshot = read(api.provider())
    assert snapshot.curve == ()
    assert [c.step for c in snapshot.checkpoints] == [4]


def test_a_context_without_a_tensorboard_is_not_there_yet() -> None:
    """A context without a TensorBoard is complete while a job trains."""
    api = LostApi(status=200, said={"name": EXPERIMENT})
    api.jobs = [api.row(JOB)]
    assert read(api.provider()).skipped == ()
    api.jobs = [api.row(JOB, state="JOB_STATE_FAILED")]
    (part,) = read(api.provider()).missing
    assert (part.name, part.is_lasting) == ("metrics", True)
    assert "TensorBoard" in part.reason


@pytest.mark.parametrize("state", ["JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED"])
def test_a_job_that_ended_before_training_lacks_no_curve(state: str) -> None:
    """A job that ended before training lacks no curve, and a successful one without it does."""
    api = LostApi(status=404)
    api.jobs = [api.row(JOB, state=state)]
    assert read(api.provider()).missing == ()
    api.jobs = [api.row(JOB, state="JOB_STATE_SUCCEEDED")]
    assert [part.name for part in read(api.provider()).missing] == ["metrics"]
    api = LostApi(status=403)
    api.jobs = [api.row(JOB, state=state)]
    assert [part.name for part in read(api.provider()).missing] == ["metrics"]


def test_a_job_without_an_experiment_lacks_no_curve() -> None:
    """Distillation and partners' models may have no experiment, and then lack no curve."""
    api = VertexApi()
    api.jobs = [api.row(JOB, state="JOB_STATE_SUCCEEDED", experiment=None)]
    snapshot = read(api.provider())
    assert (snapshot.curve, snapshot.missing) == ((), ())


def test_zeros_and_odd_numbers_of_protocol_buffers() -> None:
    """Omitted steps and values of protocol buffers are zero, and words are not numbers."""
    data = {
        "values": [
            {"wallTime": time(CREATED), "scalar": {}},
            {"wallTime": time(CREATED), "step": "1", "scalar": {"value": 1e-7}},
            {"wallTime": time(CREATED), "step": 2, "scalar": {"value": "NaN"}},
            {"wallTime": time(CREATED), "step": "3"},
        ]
    }
    series = f"{RUN}/timeSeries/0:read"
    api = LostApi(lost=series, status=200, said={"timeSeriesData": data})
    api.jobs = [api.row(JOB)]
    api.checkpoints = measured(1)
    snapshot = read(api.provider())
    assert points(snapshot.curve, LOSS) == {0: 0.0, 1: 1e-7}
    assert snapshot.skipped == (f"{LOSS}: 1 of its values is not finite",)


@pytest.mark.parametrize("name", ["../../secrets", "https://elsewhere.example/a", "a\nb", 7, ""])
def test_a_name_that_is_none_leads_nowhere(name: object) -> None:
    """A reply with an impossible resource name sends the bridge to no other address."""
    api = VertexApi()
    api.jobs = [api.row(JOB) | {"experiment": name}]
    job = only(api)
    before = len(api.requests)
    assert read(api.provider(), job=job).curve == ()
    assert len(api.requests) == before


def test_no_text_of_the_training_data_is_kept() -> None:
    """No sample of the training data is kept, at any depth; the numbers about it are."""
    sample = [{"role": "user", "parts": [{"text": "secret"}]}]
    stats = {
        "distillationDataStats": {
            "trainingDatasetStats": {
                "userDatasetExamples": sample,
                "reinforcementTuningUserDatasetExamples": {"userDatasetExamples": sample},
                "tuningDatasetExampleCount": "7",
                "buckets": [{"count": 1, "userDatasetExamples": sample}],
            }
        }
    }
    api = VertexApi()
    api.jobs = [api.row(JOB, tuningDataStats=stats, state="JOB_STATE_SUCCEEDED")]
    kept = read(api.provider(), keep=True).documents["job.json"]
    assert b"secret" not in kept
    inner = {"tuningDatasetExampleCount": "7", "buckets": [{"count": 1}]}
    expected = {"distillationDataStats": {"trainingDatasetStats": inner}}
    assert json.loads(kept)["tuningDataStats"] == expected
    assert published({"examples": 3, "a": [[{"examples": [1]}]]}) == {
        "examples": 3,
        "a": [[{}]],
    }


def test_losses_share_charts_and_rewards_are_maximised() -> None:
    """Losses get the names of local trainers, and a reward counts as best when high."""
    names = MetricNames.of("huggingface", Vertex.meanings)
    for own in (LOSS, "preference_optimization_train_loss"):
        assert names.metric(own) == "loss"
    assert names.metric("eval_total_loss") == "eval_loss"
    assert names.metric("train_mean_reward") == "reward"
    api = VertexApi()
    ends = [saved(f"{n}", checkpointId=f"{n}", endpoint=f"{PLACE}/endpoints/{n}") for n in (1, 2)]
    api.jobs = [api.row(JOB, tunedModel=tuned(*ends))]
    for metric, better in (("eval_mean_reward", 2), ("eval_total_loss", 1)):
        api.checkpoints = measured(1, 2, name=metric)
        snapshot = read(api.provider())
        assert best_model(snapshot, names) == f"{PLACE}/endpoints/{better}"
    assert Vertex.meanings["eval_mean_reward"] is Meaning.VALID_REWARD


def google_error(code: int, status: str, message: str, **detail: object) -> httpx.Response:
    """Return an error as Google writes them."""
    error: dict[str, object] = {"code": code, "message": message, "status": status}
    return httpx.Response(code, json={"error": error | ({"details": [detail]} if detail else {})})


@pytest.mark.parametrize(
    ("reply", "kind", "remedy"),
    [
        (
            google_error(401, "UNAUTHENTICATED", "invalid authentication credentials"),
            errors.Unauthorized,
            "gcloud auth print-access-token",
        ),
        (
            google_error(
                403,
                "PERMISSION_DENIED",
                "Permission 'aiplatform.tuningJobs.list' denied on resource '//...'",
            ),
            errors.Forbidden,
            "roles/aiplatform.viewer), which has the permission aiplatform.tuningJobs.list",
        ),
        (
            google_error(
                403,
                "PERMISSION_DENIED",
                "Vertex AI API has not been used",
                reason="SERVICE_DISABLED",
                metadata={"service": "aiplatform.googleapis.com", "consumer": "projects/acme"},
            ),
            errors.Forbidden,
            "gcloud services enable aiplatform.googleapis.com --project acme",
        ),
        (
            google_error(403, "PERMISSION_DENIED", "no", reason="USER_PROJECT_DENIED"),
            errors.Forbidden,
            "roles/serviceusage.serviceUsageConsumer",
        ),
        (
            google_error(
                403, "PERMISSION_DENIED", "Request had insufficient authentication scopes"
            ),
            errors.Forbidden,
            "auth/cloud-platform",
        ),
        (
            google_error(400, "INVALID_ARGUMENT", "Tuning is not supported in location us-west9"),
            errors.NoService,
            "Correct project and location",
        ),
        (httpx.Response(404, text="<html>"), errors.NoService, "us-central1"),
    ],
)
def test_a_refusal_says_what_to_do_in_google_clouds_words(
    reply: httpx.Response, kind: type[errors.ProviderError], remedy: str
) -> None:
    """A refusal names the remedy: role, API, quota project, location or token."""
    with pytest.raises(kind) as caught:
        listed(over(lambda _request: reply, "vertex", key="ya29.a-token"))
    assert remedy in caught.value.remedy
    assert "ya29" not in str(caught.value)


def test_another_services_403_keeps_its_words() -> None:
    """Another service's 403 keeps its words: Google Cloud's remedies are for its errors."""
    reply = httpx.Response(403, json={"error": {"message": "no", "code": "forbidden"}})
    with pytest.raises(errors.Forbidden) as caught:
        listed(over(lambda _request: reply, "openai"))
    assert "role" not in caught.value.remedy


def test_the_page_of_a_job_is_in_its_location() -> None:
    """The page of a job is in its location and its project."""
    http = connect(
        address("europe-west4"),
        headers={},
        redactor=Redactor(),
        sleep=NoSleep(),
        transport=httpx.MockTransport(
            script(answer(200, {"tuningJobs": [{"name": "projects/1/x/tuningJobs/7"}]}))
        ),
    )
    (job,) = listed(Vertex(http, project="acme", location="europe-west4"))
    assert job.page is not None
    assert "locations/europe-west4/tuning/tuningJob/7?project=acme" in job.page
    assert job.status is JobStatus.UNKNOWN


def test_a_dataset_stays_where_it_is() -> None:
    """A dataset stays where it is: the bridge does not read other people's buckets."""
    with pytest.raises(errors.NotFound, match="gs://bucket/train"):
        VertexApi().provider().file("gs://bucket/train.jsonl")
