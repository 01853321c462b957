"""The tags of a run: written, changed, and left as they are."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.model import JobStatus, Snapshot
from bridge.plan import tags as run_tags
from bridge.plan.description.lineage import Lineage, with_lineage
from bridge.plan.metric_names import MetricNames
from bridge.plan.tags import Belonging, color_of, job_tags, lineage_of, note_tags
from bridge.providers.registry import TYPES
from tests.support.in_memory import START, ended_job, snapshot_of

VOCABULARY = MetricNames.of("huggingface", TYPES["openai"].meanings)
NEW = Belonging(is_new=True, is_adopted=False)
OURS = Belonging(is_new=False, is_adopted=False)
ADOPTED = Belonging(is_new=False, is_adopted=True)
NOTE = run_tags.NOTE


def tagged(
    snapshot: Snapshot, known: Mapping[str, str] | None = None, belonging: Belonging = NEW
) -> dict[str, str]:
    """Return the tags planned for a job's run."""
    return job_tags("work", snapshot, VOCABULARY, known or {}, belonging)


def test_tags_of_a_new_run() -> None:
    """A new run has every known fact of the job, and its creator."""
    snapshot = snapshot_of(
        "ftjob-a", 0.9, 0.4, 0.6, trained_tokens=17, started_at=START + 1500, error="a: b"
    )
    found = tagged(snapshot)
    text = found.pop(NOTE)
    assert text.startswith("**Succeeded**")
    assert "`eval_batch_loss`" in text  # as the run calls it
    assert "valid_loss" not in text
    assert "Best: the lowest `eval_batch_loss`." in text
    assert len(found.pop(run_tags.NOTE_DIGEST)) == 16
    assert found.pop("mlflow.runColor") == color_of("work", "ftjob-a")
    assert found == {
        "fine_tuning_provider": "work",
        "fine_tuning_job_id": "ftjob-a",
        "fine_tuning_status": "succeeded",
        "fine_tuning_state": "succeeded",
        "base_model": "gpt-4.1-mini",
        "fine_tuned_model": "ft:ftjob-a",
        "fine_tuned_model_checkpoint": "ft:ftjob-a",
        "fine_tuned_model_best_checkpoint": "ft:ftjob-a:2",
        "trained_tokens": "17",
        "fine_tuning_started_at": "2025-10-09T08:53:21+00:00",
        "fine_tuning_error": "a: b",
        "fine_tuning_metric_names": "huggingface",
        "fine_tuning_bridge": "ftbridge",
        "mlflow.user": "ftbridge",
        "mlflow.source.type": "JOB",
        "mlflow.source.name": "work ftjob-a",
    }


def test_what_is_unknown_has_no_tag() -> None:
    """An unknown fact has no tag, not even an empty one."""
    job = ended_job(
        "ftjob-a",
        status=JobStatus.QUEUED,
        provider_status="",
        base_model=None,
        fine_tuned_model="",
        trained_tokens=None,
        started_at=10**30,
    )
    found = {name for name in tagged(Snapshot(job=job), belonging=OURS) if "note" not in name}
    assert found == {
        "fine_tuning_provider",
        "fine_tuning_job_id",
        "fine_tuning_state",
        "fine_tuning_metric_names",
    }


@pytest.mark.parametrize("status", [*JobStatus])
def test_a_state_is_a_word_of_every_provider(status: JobStatus) -> None:
    """The state tag is one word for all providers, and older runs stay without it."""
    snapshot = Snapshot(job=ended_job("a", status=status, provider_status="JOB_STATE_X"))
    word = "running" if status is JobStatus.UNKNOWN else status.value
    assert tagged(snapshot)[run_tags.STATE] == word
    old = {run_tags.PROVIDER: "work", run_tags.STATUS: "JOB_STATE_Y"}
    assert run_tags.STATE not in tagged(snapshot, old, OURS)
    changed = tagged(snapshot, old | {run_tags.STATE: "earlier"}, OURS)
    assert changed[run_tags.STATE] == word


def test_a_parent_is_set_at_creation_only() -> None:
    """The parent is set only at creation, and an existing run keeps its place."""
    child = Belonging(is_new=True, is_adopted=False, parent_run_id="f" * 32)
    assert tagged(snapshot_of("a", 0.5), belonging=child)[run_tags.PARENT] == "f" * 32
    later = Belonging(is_new=False, is_adopted=False, parent_run_id="f" * 32)
    assert run_tags.PARENT not in tagged(snapshot_of("a", 0.5), belonging=later)


def test_an_adopted_run_keeps_its_origin() -> None:
    """An adopted run is marked once, and keeps its user, source and note."""
    own = {"mlflow.user": "ada", NOTE: "Mine.", "mlflow.source.name": "launch.py"}
    found = tagged(snapshot_of("a", 0.5), own, ADOPTED)
    assert found[run_tags.BRIDGE] == run_tags.ADOPTED
    assert own.keys().isdisjoint(found)
    done = own | found | {run_tags.BRIDGE: run_tags.COMPLETED}
    assert tagged(snapshot_of("a", 0.5), done, ADOPTED) == {}


LOOKS = st.tuples(
    st.lists(st.floats(0.01, 5) | st.none(), max_size=4),
    st.sampled_from(list(JobStatus)),
    st.text(max_size=40),
    st.none() | st.integers(START, START + 10**6),
)


@given(LOOKS, LOOKS, st.sampled_from([NEW, ADOPTED]))
def test_a_second_look_changes_what_is_new_and_no_more(
    first: tuple[list[float | None], JobStatus, str, int | None],
    second: tuple[list[float | None], JobStatus, str, int | None],
    belonging: Belonging,
) -> None:
    """A second plan changes only new facts, and never takes its own note for edited."""

    def look(at: tuple[list[float | None], JobStatus, str, int | None]) -> Snapshot:
        losses, status, error, started = at
        return snapshot_of(
            "a", *losses, status=status, provider_status=status, error=error, started_at=started
        )

    known = tagged(look(first), {}, belonging)
    again = OURS if belonging is NEW else ADOPTED
    assert tagged(look(first), known, again) == {}
    later = known | tagged(look(second), known, again)
    assert tagged(look(second), later, again) == {}
    assert later[NOTE].startswith(f"**{second[1].capitalize()}**")


def test_a_note_remembers_when_training_began() -> None:
    """The note keeps the start of training, so that later passes read less."""
    known = tagged(snapshot_of("a", 0.5, started_at=START + 10_000))
    assert "queued for 10 s" in known[NOTE]
    assert tagged(snapshot_of("a", 0.5), known, OURS) == {}
    unreadable = known | {run_tags.STARTED: "yesterday"}
    assert "queued for" not in tagged(snapshot_of("a", 0.5), unreadable, OURS)[NOTE]


@pytest.mark.parametrize("text", ["Mine.", ""])
def test_a_note_that_its_user_wrote_stays(text: str) -> None:
    """A user's note stays, whether written before, edited since, or emptied."""
    ours = tagged(snapshot_of("a", 0.5))
    assert note_tags("new", {NOTE: text}) == {}
    assert note_tags("new", ours | {NOTE: text}) == {}


def test_a_run_of_an_earlier_version_keeps_the_name_of_its_digest() -> None:
    """A digest under an earlier version's name stays, and an edited note as well."""
    digest = note_tags("one", {})[run_tags.NOTE_DIGEST]
    known = {NOTE: "one", "fine_tuning_note": digest}
    assert note_tags("one", known) == known
    assert note_tags("two", known).keys() == known.keys()
    assert note_tags("two", known | {NOTE: "Mine."}) == {}


def test_a_note_that_its_user_removed_stays_away() -> None:
    """A note that its user removed is not written again."""
    removed = {name: text for name, text in tagged(snapshot_of("a", 0.5)).items() if name != NOTE}
    assert note_tags("new", removed) == {}


def test_a_note_of_the_bridge_is_replaced() -> None:
    """A note of the bridge is replaced by the next one."""
    known = note_tags("one", {})
    known |= note_tags("two", known)
    assert known[NOTE] == "two"
    assert note_tags("three", known)[NOTE] == "three"


def test_the_lineage_is_in_the_tags() -> None:
    """A child has one parent and a parent all children, in tags and notes."""
    known = {run_tags.FROM_RUN: "a" * 32, run_tags.INTO_RUNS: f"{'b' * 32},{'c' * 32}"}
    assert lineage_of(known) == Lineage("a" * 32, ("b" * 32, "c" * 32))
    assert lineage_of({}) == Lineage()
    named = lineage_of(known, {"a" * 32: "work/bot-1"})
    text = with_lineage("**Succeeded**", named)
    assert f"[`work/bot-1`](#/runs/{'a' * 32})" in text
    later = tagged(snapshot_of("a", 0.5), known | {NOTE: text}, OURS).get(NOTE) or text
    assert "`work/bot-1`" in later
    text = tagged(snapshot_of("a", 0.5), known, OURS)[NOTE]
    assert all(f"#/runs/{each * 32}" in text for each in "abc")


@given(st.text(max_size=6000), st.text(max_size=6000))
def test_tags_are_bounded(text: str, model: str) -> None:
    """Tags are cut by the bridge, because a cut by MLflow would look like an edit."""
    found = tagged(snapshot_of("a", 0.5, error=text, provider_status=text, fine_tuned_model=model))
    assert all(0 < len(value) <= 5000 for value in found.values())


@pytest.mark.parametrize(("length", "is_cut"), [(5000, False), (5001, True)])
def test_a_tag_is_as_long_as_mlflow_takes(length: int, *, is_cut: bool) -> None:
    """The tags of page and price have the length that MLflow accepts."""
    long, cut = "x" * length, "x" * 4999 + "…" if is_cut else "x" * 5000
    found = tagged(snapshot_of("a", 0.5, base_model=long, page=long, cost=long))
    assert (found["base_model"], found[run_tags.PAGE], found[run_tags.COST]) == (cut, cut, cut)


@pytest.mark.parametrize(("length", "is_cut"), [(1000, False), (1001, True)])
def test_an_error_has_a_thousand_characters(length: int, *, is_cut: bool) -> None:
    """The tag of an error has a thousand characters, and the archive has all."""
    found = tagged(snapshot_of("a", error="x" * length))
    assert found[run_tags.ERROR] == ("x" * 999 + "…" if is_cut else "x" * 1000)


def test_a_credential_in_an_error_is_in_no_tag() -> None:
    """A credential in an error's text is masked in its tag and in the description."""
    found = tagged(
        snapshot_of("a", error="no access: Authorization: Bearer abc, hf_AbCdEfGhIjKlMnOp12")
    )
    assert found[run_tags.ERROR] == "no access: Authorization: Bearer ***, ***"
    assert "no access: Authorization: Bearer ***, ***" in found[NOTE]


def test_what_a_list_of_jobs_shows_is_in_tags() -> None:
    """Steps, page and price are tags if they are known."""
    shown = {run_tags.TOTAL_STEPS, run_tags.PAGE, run_tags.COST}
    found = tagged(snapshot_of("a", 0.5, total_steps=90, page="https://x.example/a", cost="$3"))
    assert [found[name] for name in (run_tags.TOTAL_STEPS, run_tags.PAGE, run_tags.COST)] == [
        "90",
        "https://x.example/a",
        "$3",
    ]
    assert shown.isdisjoint(tagged(snapshot_of("a", 0.5, total_steps=0)))
    old = {run_tags.PROVIDER: "work"}
    assert shown.isdisjoint(tagged(snapshot_of("a", 0.5, total_steps=90, cost="$3"), old, OURS))


def test_what_was_decided_at_the_start_stays() -> None:
    """The names of metrics and the start of a job stay, even after a resumption."""
    known = {run_tags.METRIC_NAMES: "provider", run_tags.STARTED: "2025-10-09T08:53:21+00:00"}
    found = tagged(snapshot_of("a", 0.5, started_at=START + 900_000), known, OURS)
    assert known.keys().isdisjoint(found)
    assert "queued for 1 s" in found[NOTE]


def test_a_models_end_is_a_day() -> None:
    """A model's end is a day without a time."""
    found = tagged(snapshot_of("a", 0.5, model_shutdown=START))
    assert found[run_tags.SHUTDOWN] == "2025-10-09"
    assert run_tags.day(None) is None
    assert run_tags.day(10**30) is None
    assert run_tags.day(999) == "1970-01-01"
    assert run_tags.day(86_399_999) == "1970-01-01"
    assert run_tags.day(86_400_000) == "1970-01-02"


def test_a_users_run_keeps_what_its_user_noted_of_the_model() -> None:
    """A user's tags about a model stay, and the bridge adds the others."""
    own = {"base_model": "mine", "trained_tokens": "7", run_tags.STATUS: "mine"}
    snapshot = snapshot_of("a", 0.5, trained_tokens=17)
    found = tagged(snapshot, own, ADOPTED)
    assert {"base_model", "trained_tokens"}.isdisjoint(found)
    assert found["fine_tuned_model"] == "ft:a"
    assert found[run_tags.STATUS] == "succeeded"
    assert tagged(snapshot, own, OURS)["base_model"] == "gpt-4.1-mini"


def test_what_other_jobs_start_from_is_found_by_any_of_its_names() -> None:
    """A model to start from is found as the result, the newest or the best checkpoint."""
    found = tagged(snapshot_of("a", 0.4, 0.9))
    named = {name for name, value in found.items() if value.startswith("ft:a")}
    assert set(run_tags.MADE_MODELS) == named
    assert named == {
        "fine_tuned_model",
        "fine_tuned_model_checkpoint",
        "fine_tuned_model_best_checkpoint",
    }
