"""Impossible values in replies, and the reading of the rest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from urllib.parse import unquote

import httpx
import pytest

from bridge.model import Job, JobStatus, Snapshot
from bridge.text import clean
from tests.support.contract import (
    JOB,
    ODD_IDS,
    as_sent,
    every_kind,
    listed,
    measured,
    only,
    read,
)
from tests.support.wire_server import (
    BASE_URL,
)
from tests.support.wires import WIRES


@every_kind
def test_an_id_is_enough_for_a_job(kind: str) -> None:
    """A job needs nothing but its id."""
    api = WIRES[kind]()
    api.jobs = [api.bare(JOB)]
    expected = Job(id=f"{api.id_prefix}{JOB}", status=JobStatus.UNKNOWN, provider_status="")
    assert only(api) == expected
    assert read(api.provider()) == Snapshot(job=expected)


@every_kind
def test_nulls_everywhere_are_as_good_as_missing_keys(kind: str) -> None:
    """A null in the place of any value counts as a missing key."""
    api = WIRES[kind]()
    full = api.row(JOB)
    for key in full.keys() - {api.id_key}:
        api.jobs = [full | {key: None}]
        with_null = only(api)
        api.jobs = [{name: value for name, value in full.items() if name != key}]
        assert with_null == only(api), key
    api.jobs = [dict.fromkeys(full) | api.bare(JOB)]
    expected = Job(id=f"{api.id_prefix}{JOB}", status=JobStatus.UNKNOWN, provider_status="")
    assert only(api) == expected


@every_kind
def test_nulls_in_a_checkpoint_leave_the_rest(kind: str) -> None:
    """A checkpoint needs only its step; a metric that is null is absent, not zero."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    whole = api.checkpoint(3, train_loss=0.5, valid_loss=None)
    api.checkpoints = [
        whole,
        dict.fromkeys(whole) | {api.step_key: 2},
        {api.step_key: 1},
    ]
    snapshot = read(api.provider())
    found = [(c.step, dict(c.metrics)) for c in measured(api, snapshot)]
    if api.measures_checkpoints:
        assert found[:-1] == [(1, {}), (2, {})]
        assert snapshot.checkpoints[0].created_at is None
    assert found[-1] == (3, {"train_loss": 0.5})
    assert snapshot.skipped == ()


@every_kind
def test_unknown_keys_change_nothing(kind: str) -> None:
    """Unknown keys change nothing, because providers add keys without notice."""
    api = WIRES[kind]()
    news: dict[str, object] = {"shared_with": True, "usage": {"a": [1, {"b": None}]}, "": 1}
    api.checkpoints = [api.checkpoint(1, train_loss=0.5)]
    api.jobs = [api.row(JOB)]
    plain = read(api.provider())
    api.jobs = [api.row(JOB) | news]
    if not api.has_flat_rows:
        api.checkpoints = [api.checkpoint(1, train_loss=0.5) | news]
    assert read(api.provider()) == plain


def wrong_values() -> Iterator[tuple[str, str, object]]:
    """Yield provider, key and a value of an impossible type for that key."""
    for kind, api in WIRES.items():
        for key, value in api.wrong.items():
            yield kind, key, value


@pytest.mark.parametrize(("kind", "key", "value"), list(wrong_values()))
def test_a_value_of_the_wrong_type_is_left_out_only(kind: str, key: str, value: object) -> None:
    """A value of the wrong type counts as a missing key, and a sentence names the key."""
    api = WIRES[kind]()
    full = api.row(JOB)
    api.jobs = [{name: old for name, old in full.items() if name != key}]
    without = only(api)
    api.jobs = [full | {key: value}]
    for job in (only(api), read(api.provider()).job):
        assert as_sent(job) == without
        assert len(job.skipped) == 1
        assert job.skipped[0].startswith(key)


@every_kind
def test_wrong_values_of_a_job_are_reported_with_its_snapshot(kind: str) -> None:
    """The snapshot of a job reports its wrong values once."""
    api = WIRES[kind]()
    key = next(key for key in api.wrong if "model" in key.lower())
    api.jobs = [api.row(JOB, **{key: api.wrong[key]})]
    provider = api.provider()
    (job,) = listed(provider)
    for snapshot in (read(provider), read(provider, job=job)):
        assert [s for s in snapshot.skipped if s.startswith(key)] == list(job.skipped)
        assert len(job.skipped) == 1


@every_kind
def test_all_values_wrong_at_once_leave_the_id(kind: str) -> None:
    """A job in which every value but the id is wrong is still a job."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB, **api.wrong)]
    job = only(api)
    assert job.id == f"{api.id_prefix}{JOB}"
    assert job.status is JobStatus.UNKNOWN
    assert len(job.skipped) == len(api.wrong)


@every_kind
def test_wrong_values_deep_inside_are_left_out_only(kind: str) -> None:
    """Wrong values among a checkpoint's metrics are left out one by one, and each is named."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    api.checkpoints = [
        api.checkpoint(1, train_loss=0.5, text="0.5", truth=True),
        api.checkpoint(2, train_loss=0.25),
        api.checkpoint(3) | ({} if api.has_flat_rows else {"metrics": [0.5]}),
        api.checkpoint(4, train_loss=0.125) | {"created_at": "noon"},
    ]
    snapshot = read(api.provider())
    found = measured(api, snapshot)
    losses = [(1, 0.5), (2, 0.25), (3, None), (4, 0.125)]
    assert [(c.step, c.metrics.get("train_loss")) for c in found] == [
        loss for loss in losses if api.measures_checkpoints or loss[1] is not None
    ]
    assert {name for c in found for name in c.metrics} == {"train_loss"}
    if not api.measures_checkpoints:
        return  # As in every curve, values that are not numbers are skipped.
    assert snapshot.checkpoints[3].created_at is None
    said = "\n".join(snapshot.skipped)
    assert all(name in said for name in ("text", "truth", "metrics", "created_at")), said


@every_kind
def test_a_value_wrong_in_every_checkpoint_is_left_out_of_every_checkpoint(kind: str) -> None:
    """A metric that is text at each of 200 steps is left out, and the other metrics stay."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    api.checkpoints = [api.checkpoint(n, train_loss=0.5, odd="x") for n in range(1, 201)]
    found = measured(api, read(api.provider()))
    assert [dict(c.metrics) for c in found] == [{"train_loss": 0.5}] * 200


UNSENDABLE: object = {"id": "half \ud800"}
NO_JOBS: list[object] = [
    None,
    5,
    "a-job",
    [],
    {},
    {"id": None},
    {"id": ""},
    {"id": 7},
    {"id": ["a"]},
    {"id": "x" * 251},
    {"id": "two\nlines"},
    {"id": "nul\x00"},
    UNSENDABLE,
]
BY_CURSOR = frozenset({"bedrock-mantle", "openai", "azure", "nebius"})
"""Providers that name the last row's id to get the next page."""


@every_kind
@pytest.mark.parametrize("row", NO_JOBS, ids=lambda row: repr(row)[:20])
def test_a_row_without_a_usable_id_is_unreadable(kind: str, row: object) -> None:
    """A row without a usable id becomes one sentence, and the rows around it become jobs."""
    api = WIRES[kind]()
    if isinstance(row, dict):
        row = {api.id_key if key == "id" else key: value for key, value in row.items()}
    api.jobs = [api.row("before"), row, api.row("after")]
    (page,) = api.provider().pages()
    assert [job.id for job in page.jobs] == api.ids(["before", "after"])
    assert len(page.unreadable) == 1
    assert page.unreadable[0].isprintable()


@every_kind
def test_an_unreadable_row_at_the_end_of_a_page_hides_no_job(kind: str) -> None:
    """After an unreadable row, later pages are listed, or a sentence reports the cut."""
    api = WIRES[kind]()
    for row in NO_JOBS:
        good = [api.row(f"job-{n}") for n in range(150)]
        api.jobs = [*good[:99], row, *good[99:]]
        pages = list(api.provider().pages())
        if kind in BY_CURSOR and row == UNSENDABLE:
            assert pages[-1].cut is not None
            assert "unusable id" in pages[-1].cut.reason
        else:
            assert sum(len(page.jobs) for page in pages) == 150, row


@every_kind
@pytest.mark.parametrize("job_id", ODD_IDS)
def test_an_odd_id_is_one_segment_of_the_path(kind: str, job_id: str) -> None:
    """A request for an odd id goes to one segment of the path below the jobs."""
    api = WIRES[kind]()
    job_id = job_id[: api.longest_id]
    if "/" in job_id and not api.ids_have_slashes:
        return
    api.jobs = [api.row(job_id)]
    api.checkpoints = [api.checkpoint(1, train_loss=0.5)]
    assert len(measured(api, read(api.provider(), job_id))) == 1
    base = httpx.URL(BASE_URL).path
    for request in api.requests:
        raw = request.url.raw_path.decode().split("?")[0]
        if api.curve_root and raw.startswith(f"{base}/{api.curve_root}/"):
            continue
        if raw == f"{base}/{'/'.join(api.root)}":
            continue  # the list
        *root, segment = raw.removeprefix(f"{base}/").split("/")[: len(api.root) + 1]
        assert tuple(root) == api.root
        assert unquote(segment).endswith(job_id)
        assert segment not in {".", ".."}
        assert request.url.host == "provider.example"


@every_kind
@pytest.mark.parametrize("job_id", ["a\u202eb", "a\x9bb", "\u200ea", "a\u2066b"])
def test_an_id_that_text_cleaning_would_change_names_no_job(kind: str, job_id: str) -> None:
    """An id that cleaning would change is refused: the next pass could not find its run."""
    api = WIRES[kind]()
    api.jobs = [api.row(job_id), api.row("good")]
    jobs = listed(api.provider())
    assert [job.id for job in jobs] == [clean(job.id, 5000) for job in jobs]
    assert jobs[-1].id == f"{api.id_prefix}good"


@every_kind
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, -(10**400)])
def test_a_number_that_is_not_finite_is_left_out(kind: str, value: float) -> None:
    """A metric that is not finite is left out and named: to most writers bare NaN is JSON."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    api.checkpoints = [
        api.checkpoint(1, train_loss=value, other=0.25),
        api.checkpoint(2, train_loss=0.5),
    ]
    snapshot = read(api.provider())
    found = [dict(c.metrics) for c in measured(api, snapshot)]
    assert found == [{"other": 0.25}, {"train_loss": 0.5}]
    (sentence,) = snapshot.skipped
    assert "train_loss" in sentence


@every_kind
@pytest.mark.parametrize(
    "value", [math.nan, math.inf, 1e300, 1e306, 1.7e308, 10**400, -5, 0, "soon", [], {}, True]
)
def test_a_time_that_is_no_time_stops_nothing(kind: str, value: object) -> None:
    """An impossible time costs only the time of a job or checkpoint."""
    api = WIRES[kind]()
    times = {key: value for key in api.row(JOB) if key.endswith(("_at", "Time"))}
    api.jobs = [api.row(JOB, **times), api.row("good")]
    api.checkpoints = [
        api.checkpoint(1, train_loss=0.5) | {"created_at": value, "timestamp": value}
    ]
    assert {job.id for job in listed(api.provider())} == {*api.ids([JOB, "good"])}
    found = measured(api, read(api.provider()))
    assert [dict(c.metrics) for c in found] == [{"train_loss": 0.5}]


@every_kind
@pytest.mark.parametrize("digits", [400, 4000])
def test_a_huge_whole_number_stops_nothing(kind: str, digits: int) -> None:
    """A number beyond any machine's is read or left out."""
    api = WIRES[kind]()
    huge = 10**digits
    api.jobs = [api.row(JOB, trained_tokens=huge, seed=huge, hyperparameters={"n": huge})]
    api.checkpoints = [api.checkpoint(1, train_loss=0.5)]
    assert len(listed(api.provider())) == 1
    assert [c.step for c in measured(api, read(api.provider()))] == [1]


@every_kind
@pytest.mark.parametrize(
    ("step", "expected"), [(3.0, 3), (-4, -4), (0, 0), (2**63 - 1, 2**63 - 1), (-(2**63), -(2**63))]
)
def test_a_whole_step_is_a_step(kind: str, step: object, expected: int) -> None:
    """A step can be written as 3.0, and every step that a tracking store can hold is accepted."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    api.checkpoints = [api.checkpoint(step, train_loss=0.5)]
    assert [c.step for c in measured(api, read(api.provider()))] == [expected]


@every_kind
@pytest.mark.parametrize(
    "step", [1.5, 2**63, -(2**63) - 1, 10**400, 1e300, math.nan, None, "last", [], {}]
)
def test_a_checkpoint_whose_step_is_none_is_left_out(kind: str, step: object) -> None:
    """A checkpoint with an impossible step is left out and named, and the others are read."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    api.checkpoints = [
        api.checkpoint(8, train_loss=0.5),
        api.checkpoint(step, train_loss=0.5),
        api.checkpoint(4, train_loss=0.5),
    ]
    snapshot = read(api.provider())
    assert [c.step for c in measured(api, snapshot)] == [4, 8]
    assert snapshot.skipped


@every_kind
def test_checkpoints_come_by_ascending_step(kind: str) -> None:
    """Checkpoints come by ascending step, without repetitions, in any order of the list."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB)]
    api.checkpoints = [api.checkpoint(n, train_loss=n / 16) for n in (5, 40, 1, 7, 40, 3)]
    snapshot = read(api.provider())
    assert [c.step for c in measured(api, snapshot)] == [1, 3, 5, 7, 40]
    assert snapshot.newest_checkpoint == (snapshot.checkpoints or [None])[-1]


@every_kind
@pytest.mark.parametrize("curves", [True, False])
def test_checkpoints_do_not_depend_on_curves(kind: str, *, curves: bool) -> None:
    """Without curves the checkpoints are the same, and no points come with them."""
    api = WIRES[kind]()
    api.jobs = [api.row(JOB, **{api.status_key: api.succeeded})]
    api.checkpoints = [api.checkpoint(n, train_loss=n / 16) for n in (1, 2)]
    snapshot = read(api.provider(curves=curves))
    if not api.measures_checkpoints:
        assert len(measured(api, snapshot)) == (2 if curves else 0)
        return
    assert [dict(c.metrics) for c in snapshot.checkpoints] == [
        {"train_loss": 1 / 16},
        {"train_loss": 2 / 16},
    ]
    assert snapshot.curve == ()
    if not curves and api.curve_part:
        assert not api.asked(api.curve_part)
