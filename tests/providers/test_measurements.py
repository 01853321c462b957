"""Numbers that stand for "not measured", wherever they come from."""

from __future__ import annotations

import base64

import pytest

from bridge.providers.measurements import measurements
from tests.support.contract import JOB, measured, openai_with_steps, points, read
from tests.support.wire_server import OpenAIApi
from tests.support.wires import WIRES

DONE = {"status": "succeeded", "result_files": ["file-r"], "finished_at": 1_760_000_800}


@pytest.mark.parametrize(
    ("values", "method", "expected"),
    [
        ({"train_loss": 1.5, "valid_loss": -1.0}, None, {"train_loss": 1.5}),
        ({"full_valid_loss": -1, "full_valid_mean_token_accuracy": -1}, "supervised", {}),
        ({"eval/loss": -1.0, "eval/perplexity": -1}, "sft", {}),
        ({"train_loss": -1.0, "train_reward_accuracy": 0.5}, "dpo", None),
        ({"train_loss": -1.0, "train_mean_reward": -1.0}, None, None),
        ({"pg_loss": -1.0, "total_loss": -1.0}, None, None),
        ({"loss": -1.0}, "reinforcement", None),
        ({"loss": -1.0, "token_accuracy": -1.0}, "dpo", {"loss": -1.0}),
        ({"train_loss": -0.25}, None, None),
        ({"temperature": -1.0}, None, None),
        (
            {"valid_loss": 0.0, "valid_mean_token_accuracy": 0.0, "train_loss": 0.0},
            None,
            {"train_loss": 0.0},
        ),
        ({"full_valid_loss": 0, "full_valid_accuracy": 0}, None, {}),
        ({"eval/loss": 0.0, "eval/accuracy": 0.0}, "dpo", {}),
        ({"valid_loss": 0.0, "valid_mean_token_accuracy": 1.0}, None, None),
        ({"valid_loss": 0.0}, None, None),
        ({"valid_loss": 0.5, "valid_mean_token_accuracy": 0.0}, None, None),
        ({"train_loss": 0.0, "train_mean_token_accuracy": 0.0}, None, None),
    ],
)
def test_what_was_not_measured_is_left_out(
    values: dict[str, object], method: str | None, expected: dict[str, float] | None
) -> None:
    """A placeholder of -1 or a pair of zeros is left out, and everything else is kept."""
    assert measurements(values, method) == (values if expected is None else expected, [])


@pytest.mark.parametrize("kind", sorted(WIRES.keys() - {"prime", "vertex"}))
def test_no_provider_logs_what_was_not_measured(kind: str) -> None:
    """No provider logs a placeholder, in checkpoints or in steps.

    Prime has only reinforcement runs, and Vertex measures each metric separately.
    """
    api = WIRES[kind]()
    api.jobs = [api.row(JOB, method=None)]
    api.checkpoints = [
        api.checkpoint(1, train_loss=2.0, valid_loss=-1.0, valid_mean_token_accuracy=-1),
        api.checkpoint(2, train_loss=1.5, valid_loss="N/A", valid_mean_token_accuracy=""),
        api.checkpoint(3, train_loss=1.0, valid_loss=0.0, valid_mean_token_accuracy=0.0),
        api.checkpoint(4, train_loss=0.5, valid_loss=0.75, valid_mean_token_accuracy=0.9),
    ]
    snapshot = read(api.provider())
    assert [dict(each.metrics) for each in measured(api, snapshot)] == [
        {"train_loss": 2.0},
        {"train_loss": 1.5},
        {"train_loss": 1.0},
        {"train_loss": 0.5, "valid_loss": 0.75, "valid_mean_token_accuracy": 0.9},
    ]
    assert snapshot.skipped == ()


@pytest.mark.parametrize("encoded", [True, False])
def test_result_files_of_any_year_leave_out_what_was_not_measured(*, encoded: bool) -> None:
    """Result files of any year lose their placeholders, even with the first API's column names."""
    api = openai_with_steps(0, **DONE, method=None)
    table = (
        b'"step","elapsed_tokens","training_loss","validation_loss","validation_token_accuracy"\n'
        b"1,10,3.8,-1.0,-1.0\n2,20,2.2,2.5,0.5\n3,30,1.2,,N/A\n"
    )
    api.result = base64.b64encode(table) if encoded else table
    curve = read(api.provider()).curve
    assert points(curve, "train_loss") == {1: 3.8, 2: 2.2, 3: 1.2}
    assert points(curve, "valid_loss") == {2: 2.5}
    assert points(curve, "valid_mean_token_accuracy") == {2: 0.5}


def test_an_event_of_a_preference_may_have_a_negative_loss() -> None:
    """A preference job's event can have a negative loss, and a supervised job's cannot."""
    for method, expected in (("dpo", {1: -1.0, 2: 0.5}), ("supervised", {2: 0.5})):
        api = OpenAIApi()
        api.jobs = [api.row(JOB, method={"type": method})]
        api.events = [api.event(2, train_loss=0.5), api.event(1, train_loss=-1.0)]
        assert points(read(api.provider()).curve) == expected


@pytest.mark.parametrize(
    "files", [["file-r"], [{"id": "file-r", "filename": "results.csv", "object": "file"}]]
)
def test_a_result_file_is_an_id_or_a_file(files: object) -> None:
    """A result file is an id, or a file object as the first API sent it."""
    api = openai_with_steps(0, **DONE | {"result_files": files})
    api.result = b"step,train_loss\n1,2.0\n2,1.0\n"
    assert points(read(api.provider()).curve) == {1: 2.0, 2: 1.0}
    assert str(api.asked("/content")[0].url).endswith("/files/file-r/content")
