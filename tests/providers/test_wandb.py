"""The run of a job at Weights & Biases, and its evaluations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.model import Snapshot
from bridge.plan.options import RecordingOptions
from bridge.plan.plan import make_plan
from bridge.providers.vertex_records import evaluations_of
from bridge.providers.wandb import integrated_run, run_page
from tests.support.in_memory import START, snapshot_of

RUN = "https://wandb.ai/team/sft/runs/ftjob-a"


def openai(**settings: object) -> dict[str, object]:
    """Return an integration as OpenAI describes it."""
    return {"type": "wandb", "wandb": settings}


@pytest.mark.parametrize(
    ("integrations", "page"),
    [
        ([openai(project="sft", entity="team", name="x", tags=["a"])], RUN),
        ([openai(project="sft")], None),  # at the default entity of somebody's key
        ([openai(project="sft", entity=None)], None),
        ([openai(project="a/../b", entity="team")], None),
        ([openai(project="sft", entity="team](evil)")], None),
        ([{"type": "wandb", "project": "sft", "url": RUN}], RUN),
        ([{"type": "wandb", "project": "sft", "url": None}], None),
        ([{"type": "other", "url": RUN}, openai(project="sft", entity="team")], RUN),
        ([{"type": "wandb", "wandb": "sft"}, "wandb", None], None),
        ("wandb", None),
        (None, None),
    ],
)
def test_a_reply_leads_to_a_run(integrations: object, page: str | None) -> None:
    """A reply gives the address of a run, or project and entity, and otherwise nothing."""
    assert integrated_run(integrations, "ftjob-a") == page


@pytest.mark.parametrize(
    "url",
    [
        "http://wandb.ai/team/sft/runs/a",
        "https://wandb.ai/team/sft/runs/a?apiKey=secret",
        "https://key:secret@wandb.ai/team",
        "https://wandb.ai/team)[x](https://evil",
        "https://wandb.ai/te am",
        "",
        7,
        None,
    ],
)
def test_an_address_with_a_key_is_not_shown(url: object) -> None:
    """An address with a key is not shown, nor is an impossible one."""
    assert run_page(url) is None
    assert run_page("https://wandb.example:8080/team/sft/runs/a") is not None


def test_both_are_on_the_run() -> None:
    """The run has both as tags and in its description."""
    job = replace(snapshot_of("ftjob-a", 0.5).job, wandb_run=RUN, evaluation="eval_1")
    plan = make_plan("openai", Snapshot(job=job), None, RecordingOptions(), now=START + 10**6)
    assert plan.tags["fine_tuning_wandb_run"] == RUN
    assert plan.tags["fine_tuning_evaluation"] == "eval_1"
    note = plan.tags["mlflow.note.content"]
    assert f"- Weights & Biases: [run]({RUN})\n" in note + "\n"
    assert "- Evaluation: `eval_1`\n" in note


def test_evaluations_of_vertex_are_named() -> None:
    """Evaluations of Vertex are named once, except those without a name."""
    name = "projects/1/locations/us-central1/evaluationRuns/7"
    rows = [{"checkpointId": "1", "evaluationRun": name}, {"evaluationRun": name}, {}, 7]
    assert evaluations_of({"evaluateDatasetRuns": rows}) == name
    assert evaluations_of({"evaluateDatasetRuns": None}) is None
