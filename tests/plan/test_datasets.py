"""The files of a job as MLflow's dataset inputs."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from bridge.plan.datasets import DatasetInput, datasets_of
from tests.support.in_memory import ended_job

file_ids = st.lists(st.text(max_size=600), max_size=4).map(tuple)


def test_each_file_has_its_role() -> None:
    """Training files come before validation files, and the digest is the id."""
    job = ended_job("a", training_files=("file-1", "file-2"), validation_files=("file-3",))
    first, *_ = found = datasets_of(job)
    assert found == (
        DatasetInput("file-1", "training"),
        DatasetInput("file-2", "training"),
        DatasetInput("file-3", "validation"),
    )
    assert first.digest == DatasetInput("file-1", "validation").digest
    assert len({each.digest for each in found}) == 3
    assert json.loads(first.source("openai")) == {"provider": "openai", "file": "file-1"}


def test_a_name_is_as_long_as_mlflow_takes() -> None:
    """A name that is too long for MLflow is cut, and an empty one is replaced."""
    names = ("x" * 500, "y" * 501, "")
    found = datasets_of(ended_job("a", training_files=names))
    assert [each.file_id for each in found] == ["x" * 500, "y" * 499 + "…"]
    assert [len(each.digest) for each in found] == [8, 8]  # as MLflow's own are


@given(file_ids, file_ids)
def test_mlflow_can_keep_them(training: tuple[str, ...], validation: tuple[str, ...]) -> None:
    """A run has each dataset once under a short name, whatever ids a provider sends."""
    found = datasets_of(ended_job("a", training_files=training, validation_files=validation))
    names = [each.file_id for each in found]
    assert len(names) == len(set(names))
    assert all(0 < len(name) <= 500 and "\x00" not in name for name in names)
    assert all(len(each.digest) <= 36 for each in found)
