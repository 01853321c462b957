"""Names that are made of a job's suffix that contains a credential."""

from __future__ import annotations

import pytest

from bridge.plan.models import hosted_models, registration_of
from bridge.plan.options import RecordingOptions
from bridge.plan.plan import make_plan
from tests.support.in_memory import START, snapshot_of

SECRET = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"


@pytest.mark.parametrize("suffix", [SECRET, f"bot-for-{SECRET}", f"{'x' * 30} {SECRET}"])
def test_no_name_shows_a_credential_of_the_suffix(suffix: str) -> None:
    """Neither the run, its models nor the registered model show a credential or a part of one."""
    snapshot = snapshot_of("ftjob-abc123", 0.9, 0.5, suffix=suffix)
    plan = make_plan("work", snapshot, None, RecordingOptions(), now=START + 10**6)
    models = hosted_models("work", snapshot, {"train_loss": {1, 2}})
    registered = registration_of("{provider}-{suffix}", "work", "openai", snapshot)
    assert registered is not None
    assert models
    names = [plan.run_name, registered.name, *(model.name for model in models)]
    assert all("***" in name for name in names)
    assert not any(SECRET[:8] in name for name in names)
    assert plan.run_name.endswith("-abc123")
