"""The result file: recognized by its content, and placed in time."""

from __future__ import annotations

import base64
import codecs
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.model import CurvePoint, Job, JobStatus, MissingPart
from bridge.providers.openai_result_file import ResultFile, as_csv, points, rows
from bridge.providers.parts import Parts
from bridge.providers.timeline import Timeline

CSV = (
    "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n"
    "1,3.63265,0.5,,\n"
    "2,2.45992,0.80952,,\n"
    "3,0.0,1.0,0.25,0.875\n"
)
TABLE = [
    (1, {"train_loss": 3.63265, "train_mean_token_accuracy": 0.5}),
    (2, {"train_loss": 2.45992, "train_mean_token_accuracy": 0.80952}),
    (
        3,
        {
            "train_loss": 0.0,
            "train_mean_token_accuracy": 1.0,
            "valid_loss": 0.25,
            "valid_mean_token_accuracy": 0.875,
        },
    ),
]
PLAIN = CSV.encode()
BASE64 = base64.b64encode(PLAIN)


def folded(text: bytes, width: int = 76) -> bytes:
    """Encode as base64 in lines, as some writers do."""
    return b"\r\n".join(text[n : n + width] for n in range(0, len(text), width)) + b"\r\n"


FORMS = {
    "plain": PLAIN,
    "plain with a byte order mark": codecs.BOM_UTF8 + PLAIN,
    "plain after blank lines": b"\n  \n" + PLAIN,
    "plain with a mark and blanks": codecs.BOM_UTF8 + b"\n" + PLAIN,
    "plain with Windows lines": PLAIN.replace(b"\n", b"\r\n"),
    "plain without its last line end": PLAIN.rstrip(),
    "plain with blank lines": PLAIN.replace(b"\n", b"\n\n"),
    "base64": BASE64,
    "base64 with blanks around": b" \n" + BASE64 + b"\n",
    "base64 on lines": folded(BASE64),
    "base64 of a byte order mark": base64.b64encode(codecs.BOM_UTF8 + PLAIN),
    "base64 of Windows lines": base64.b64encode(PLAIN.replace(b"\n", b"\r\n")),
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_every_form_of_the_file_is_the_same_table(body: bytes) -> None:
    """A file in plain text or base64, with or without a byte order mark, gives the same rows."""
    assert rows(body) == TABLE


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_every_form_of_the_file_is_a_csv_for_people(body: bytes) -> None:
    """Every form becomes a readable CSV: base64 is decoded, anything else stays unchanged."""
    table = as_csv(body)
    assert table is not None
    assert rows(table) == TABLE
    assert table == body or base64.b64decode(body) == table


@given(number=st.integers(0, 60))
def test_plain_is_never_taken_for_base64(number: int) -> None:
    """A plain file is never taken for base64, which a lenient decoder would accept."""
    body = b"step,train_loss\n" + b"".join(b"%d,0.5\n" % n for n in range(number))
    assert rows(body) == [(n, {"train_loss": 0.5}) for n in range(number)]
    assert rows(base64.b64encode(body)) == rows(body)


LAYOUTS = {
    "capitals": b"Step,train_loss,valid_loss\n1,1.5,-1\n2,1.2,0.9\n",
    "blanks": b"step, train_loss, valid_loss\n1, 1.5, N/A\n2, 1.2, 0.9\n",
    "semicolons": b"step;train_loss;valid_loss\n1;1.5;null\n2;1.2;0.9\n",
    "tabs": b"step\ttrain_loss\tvalid_loss\n1\t1.5\t-1.0\n2\t1.2\t0.9\n",
    "quotes": b'"step","train_loss","valid_loss"\r\n"1","1.5",""\r\n"2","1.2","0.9"\r\n',
    "UTF-16": "step,train_loss,valid_loss\n1,1.5,\n2,1.2,0.9\n".encode("utf-16"),
    "UTF-16, big end first": "\ufeffstep,train_loss,valid_loss\n1,1.5,\n2,1.2,0.9\n".encode(
        "utf-16-be"
    ),
    "comments": b"# made by a tool\n#, 2\nstep,train_loss,valid_loss\n1,1.5,\n# half\n2,1.2,0.9\n",
    "a mark and quotes": b'\xef\xbb\xbf"step","train_loss","valid_loss"\n"1","1.5",""\n2,1.2,0.9\n',
    "an index": b",step,train_loss,valid_loss\n0,1.0,1.5,#N/A\n1,2.0,1.2,0.9\n",
}


@pytest.mark.parametrize("body", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("is_packed", [False, True])
def test_a_table_may_be_laid_out_in_any_way(body: bytes, *, is_packed: bool) -> None:
    """Every layout of a table is read, without its placeholders."""
    expected = [(1, {"train_loss": 1.5}), (2, {"train_loss": 1.2, "valid_loss": 0.9})]
    assert rows(base64.b64encode(body) if is_packed else body) == expected


def test_lines_of_json_are_the_same_table() -> None:
    """A file with a JSON object on each line is read too, under the same names."""
    body = (
        b'\xef\xbb\xbf{"step": 2, "train_loss": 1.2, "train_accuracy": 0.5, "valid_loss": null}\n\n'
        b'{"step": 1, "train_loss": 1.5, "valid_loss": -1}\r\n'
    )
    expected = [
        (1, {"train_loss": 1.5}),
        (2, {"train_loss": 1.2, "train_mean_token_accuracy": 0.5}),
    ]
    assert rows(body) == expected


GARBAGE = {
    "nothing": b"",
    "blanks": b" \n ",
    "a page": b"<!DOCTYPE html><html></html>",
    "an error": b'{"error": {"message": "expired"}}',
    "another table": b"epoch,train_loss\n1,0.5\n",
    "base64 of a page": base64.b64encode(b"<html></html>"),
    "base64 of another table": base64.b64encode(b"epoch,loss\n1,2\n"),
    "base64 of base64": base64.b64encode(BASE64),
    "base64 cut short": BASE64[:-5],
    "base64 with a stray character": BASE64[:20] + b"!" + BASE64[20:],
    "UTF-16 without a mark": CSV.encode("utf-16-le"),
    "JSON lines without a step": b'{"epoch": 1, "train_loss": 1.5}\n',
    "JSON lines that break off": b'{"step": 1, "train_loss": 1.5}\n{"step": 2, "tra',
    "a comment": b"# step,train_loss\n",
    "binary": bytes(range(256)),
    "a zip": b"PK\x03\x04" + bytes(100),
    "a word of base64": b"step",
}


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_result_file_is_none(body: bytes) -> None:
    """Anything else gives ``None``, so that the caller reads the events instead."""
    assert rows(body) is None
    assert as_csv(body) is None


@given(body=st.binary(max_size=200) | st.binary(max_size=200).map(lambda b: b"step," + b))
def test_any_bytes_are_a_table_or_none(body: bytes) -> None:
    """Any bytes give a table or ``None``."""
    found = rows(body)
    assert found is None or [step for step, _ in found] == sorted({step for step, _ in found})


MALFORMED = {
    "a long cell": b"step,train_loss\n1,0.5\n2," + b"x" * 200_000 + b"\n3,0.5\n",
    "an open quote": b'step,train_loss\n1,0.5\n2,"' + b"x" * 200_000,
    "old line ends": b"step,train_loss\r1,0.5\r2,0.25\r",
    "a stray line end": b"step,train_loss\n1,0.5\r2,0.25\n",
    "a long header": b"step," + b"a" * 200_000 + b"\n1,2\n",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_table_is_none(body: bytes) -> None:
    """A malformed table gives ``None``: half a table would pass for a whole one."""
    assert rows(body) is None


def test_a_file_with_only_a_header_is_an_empty_table() -> None:
    """A file with only a header is an empty table, of a job without steps."""
    assert rows(b"step,train_loss\n") == []


@pytest.mark.parametrize("cell", ["", " ", "N/A", "n/a", "null", "None", "-", "nan", "inf", "-inf"])
def test_a_cell_without_a_number_is_no_metric(cell: str) -> None:
    """A cell without a number is absent, and the row's other metrics are kept."""
    assert rows(f"step,a,b\n1,{cell},0.5\n".encode()) == [(1, {"b": 0.5})]


def test_zero_and_minus_one_are_numbers() -> None:
    """Zero and -1 are kept: only numbers that are not finite are left out."""
    assert rows(b"step,a,b\n1,0.0,-1.0\n") == [(1, {"a": 0.0, "b": -1.0})]


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("train_accuracy", "train_mean_token_accuracy"),
        ("valid_accuracy", "valid_mean_token_accuracy"),
        ("validation_mean_token_accuracy", "valid_mean_token_accuracy"),
        ("train_mean_token_accuracy", "train_mean_token_accuracy"),
        ("full_valid_loss", "full_valid_loss"),
        ("errors/graders/other", "errors/graders/other"),
    ],
)
def test_columns_have_the_names_of_the_events(column: str, name: str) -> None:
    """Columns get the names that events use, and unknown columns keep theirs."""
    assert rows(f"step,{column}\n1,0.5\n".encode()) == [(1, {name: 0.5})]


@pytest.mark.parametrize("step", ["", "x", "1.5", "nan", "inf", "9223372036854775808", "1e300"])
def test_a_row_whose_step_is_none_is_left_out(step: str) -> None:
    """A row is left out if its step is text, a fraction, or beyond any tracking store."""
    assert rows(f"step,a\n{step},0.5\n2,0.25\n".encode()) == [(2, {"a": 0.25})]


def test_steps_may_come_in_any_order_and_form() -> None:
    """Steps are sorted, and 10.0 is read as 10."""
    assert rows(b"step,a\n10.0,0.5\n 2 ,0.25\n") == [(2, {"a": 0.25}), (10, {"a": 0.5})]


def test_a_step_counts_once() -> None:
    """The first of two rows with one step counts."""
    assert rows(b"step,a\n1,0.5\n1,0.25\n") == [(1, {"a": 0.5})]


def test_ragged_rows_are_read_as_far_as_they_go() -> None:
    """Missing cells of a ragged row count as empty, and surplus cells are ignored."""
    assert rows(b"step,a,b\n1,0.5\n2,0.5,0.25,7,8\n") == [
        (1, {"a": 0.5}),
        (2, {"a": 0.5, "b": 0.25}),
    ]


# Time

START = 1_760_000_000_000


def job(**fields: int | None) -> Job:
    """Return a job that has ended."""
    return Job(id="j", status=JobStatus.SUCCEEDED, provider_status="succeeded", **fields)  # type: ignore[arg-type] # only times


def at(timeline: Timeline, *steps: int) -> list[int | None]:
    """Return the times of some steps, in seconds from the start."""
    moments = [timeline.at(step) for step in steps]
    return [None if moment is None else (moment - START) // 1000 for moment in moments]


def test_steps_lie_between_known_moments_in_proportion() -> None:
    """Steps lie in proportion between the job's creation, as step 0, and the newest known time."""
    timeline = Timeline(job(created_at=START), [(10, START + 100_000), (30, START + 160_000)])
    assert at(timeline, 0, 1, 5, 10, 20, 30) == [0, 10, 50, 100, 130, 160]


def test_steps_beyond_what_is_known_stay_at_its_edge() -> None:
    """Steps beyond the known times get the first or the last of them."""
    timeline = Timeline(job(), [(10, START + 100_000), (30, START + 160_000)])
    assert at(timeline, -5, 1, 9, 31, 1000) == [100, 100, 100, 160, 160]


def test_the_end_of_the_job_is_the_moment_of_its_last_step() -> None:
    """The end of the job is the time of its last step if no closer time is known."""
    done = job(created_at=START, finished_at=START + 200_000)
    table = [(n, {"a": float(n)}) for n in (50, 100)]
    assert points(table, Timeline(done, [])) == [
        CurvePoint("a", 50, 50.0, START + 100_000),
        CurvePoint("a", 100, 100.0, START + 200_000),
    ]
    known = Timeline(done, [(100, START + 150_000)])
    assert [point.created_at for point in points(table, known)] == [START + 75_000, START + 150_000]


def test_without_any_moment_there_is_no_time() -> None:
    """A point without a time is still a point."""
    assert points([(1, {"a": 0.5})], Timeline(job(), [(1, None)])) == [
        CurvePoint("a", 1, 0.5, None)
    ]


def test_moments_that_are_missing_are_passed_over() -> None:
    """A checkpoint without a time is skipped in favour of its neighbours."""
    timeline = Timeline(job(created_at=START), [(10, None), (20, START + 40_000)])
    assert at(timeline, 10) == [20]


def test_the_first_of_two_moments_of_a_step_counts() -> None:
    """The first of two times of a step counts: the checkpoint's, which is exact."""
    timeline = Timeline(job(), [(10, START + 1000), (10, START + 9000)])
    assert timeline.at(10) == START + 1000


def test_an_empty_table_has_no_points() -> None:
    """An empty table has no points and needs no time."""
    assert points([], Timeline(job(finished_at=START), [])) == []


known_moments = st.lists(
    st.tuples(st.integers(1, 1000), st.integers(1, 10**6)), max_size=8, unique_by=lambda m: m[0]
).map(
    lambda moments: [
        (step, START + seconds * 1000)
        for step, seconds in zip(
            sorted(step for step, _ in moments),
            sorted(seconds for _, seconds in moments),
            strict=True,
        )
    ]
)
"""Times as providers give them: a later step is never earlier."""
asked_steps = st.lists(st.integers(0, 1100), min_size=2, max_size=20)


@given(moments=known_moments, steps=asked_steps, length=st.none() | st.integers(0, 10**6))
def test_time_never_runs_backwards(
    moments: list[tuple[int, int]], steps: list[int], length: int | None
) -> None:
    """Time never runs backwards along the steps, nor beyond the known times."""
    latest = max((moment for _, moment in moments), default=START)
    finished = None if length is None else latest + length * 1000
    timeline = Timeline(job(created_at=START, finished_at=finished), moments)
    found = timeline.ending_at(max(steps))
    times = [found.at(step) or 0 for step in sorted(steps)]
    assert all(first <= second for first, second in itertools.pairwise(times))
    assert times[0] >= START
    assert times[-1] <= (finished or latest)
    assert all(time % 1000 == 0 for time in times)


@given(moments=known_moments, steps=asked_steps, data=st.data())
def test_time_depends_on_what_is_known_only(
    moments: list[tuple[int, int]], steps: list[int], data: st.DataObject
) -> None:
    """A step's time depends only on the known times, not on their order."""
    shuffled = data.draw(st.permutations(moments))
    first = Timeline(job(created_at=START), moments)
    second = Timeline(job(created_at=START), shuffled)
    times = [first.at(step) for step in steps]
    assert [second.at(step) for step in steps] == times
    assert [first.at(step) for step in steps] == times
    assert all(first.at(step) == moment for step, moment in moments)


@given(moments=st.lists(st.tuples(st.integers(), st.none() | st.integers(0, 2**50)), max_size=6))
def test_any_moments_give_a_time_or_none(moments: list[tuple[int, int | None]]) -> None:
    """Any times, even contradictory ones, give each step a time or none."""
    timeline = Timeline(job(created_at=START, finished_at=1), moments).ending_at(10**6)
    assert all(isinstance(timeline.at(step), int) for step in (-(10**9), -1, 0, 1, 7, 10**9))


# The file of a job


class Shelf:
    """Serves files by id, and records the requests."""

    def __init__(self, **files: bytes) -> None:
        self.files = files
        self.asked: list[str] = []

    def __call__(self, file_id: str) -> bytes | None:
        """Return a file's content."""
        self.asked.append(file_id)
        return self.files.get(file_id)


def nothing_missing() -> Parts:
    """Return the parts of a job, none of them missing yet."""
    return Parts(lambda: None)


def done(status: JobStatus = JobStatus.SUCCEEDED, *files: str) -> Job:
    """Return a job that has ended."""
    return Job(id="a", status=status, provider_status="", result_files=files or ("first", "second"))


def test_a_result_file_is_asked_for_when_it_is_wanted_and_once() -> None:
    """A result file is requested once, when it is needed; its existence is known before."""
    shelf = Shelf(first=BASE64)
    file = ResultFile(done(), "", shelf, nothing_missing())
    assert file.exists
    assert shelf.asked == []
    assert file.rows == file.rows == TABLE
    assert file.document == {"result-file.csv": PLAIN}
    assert shelf.asked == ["first"]


@pytest.mark.parametrize(
    "job",
    [
        done(JobStatus.RUNNING),
        Job(id="a", status=JobStatus.SUCCEEDED, provider_status=""),
    ],
    ids=["not done", "has none"],
)
def test_a_job_without_a_result_file_is_not_asked_for_one(job: Job) -> None:
    """A job without a result file causes no request and no sentence."""
    shelf = Shelf(first=BASE64)
    parts = nothing_missing()
    file = ResultFile(job, "", shelf, parts)
    assert not file.exists
    assert (file.rows, file.document, shelf.asked, parts.missing) == ([], {}, [], ())


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE)
def test_a_result_file_that_is_none_is_said_to_be_none(body: bytes) -> None:
    """A file that is something else is reported once, and archived under a neutral name."""
    parts = nothing_missing()
    file = ResultFile(done(), "", Shelf(first=body), parts)
    assert file.document == ({"result-file": body} if body else {})
    assert file.rows == []
    assert parts.missing == (
        MissingPart("result file", "result file first is gone or unreadable", is_lasting=True),
    )


def test_a_result_file_that_is_gone_is_said_to_be_gone() -> None:
    """A deleted result file is reported, and nothing is archived."""
    shelf = Shelf()
    parts = nothing_missing()
    file = ResultFile(done(), "", shelf, parts)
    assert (file.rows, file.document, file.rows) == ([], {}, [])
    assert parts.missing == (
        MissingPart("result file", "result file first is gone or unreadable", is_lasting=True),
    )
    assert shelf.asked == ["first"]


def test_files_of_several_jobs_are_fetched_side_by_side() -> None:
    """Files of several jobs are fetched at the same time."""
    both = threading.Barrier(2, timeout=60)

    def fetch(_file_id: str) -> bytes:
        both.wait()
        return PLAIN

    files = [ResultFile(done(), "", fetch, nothing_missing()) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda file: file.rows, files)) == [TABLE, TABLE]
