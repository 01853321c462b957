"""Files with the metrics of each step, in every state they can be in."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.providers.fireworks_metrics_file import Row, form, rows

FINITE = st.floats(allow_nan=False, allow_infinity=False)
STEPS = st.integers(-(2**63), 2**63 - 1)
NAMES = st.text("abcdef_/", min_size=1, max_size=8)


def lines(*values: object) -> bytes:
    """Return JSON lines."""
    return "".join(f"{json.dumps(value)}\n" for value in values).encode()


def read(body: bytes) -> tuple[list[Row], list[str]]:
    """Return the rows, and the sentences about the rest."""
    skipped: list[str] = []
    return rows(body, skipped), skipped


@pytest.mark.parametrize(
    "line",
    [
        {"step": 3, "train/loss": 0.5},
        {"global_step": 3, "train/loss": 0.5},
        {"train/step": 3, "train/loss": 0.5},
        {"train/global_step": 3.0, "train/loss": 0.5, "train/epoch": 0.1},
        {"step": 3, "train/step": 3, "train/loss": 0.5, "epoch": 1, "max_steps": 9},
        {"step": 3, "timestamp": None, "data": {"train/loss": 0.5, "train/epoch": 0}},
        {"step": 3, "train/loss": 0.5, "note": "a", "done": True, "none": None, "data": 7.5}
        | {"data": "x"},
    ],
)
def test_a_line_has_a_step_and_metrics(line: dict[str, object]) -> None:
    """A line has a step and metrics; epochs and times are not metrics, nor are other values."""
    assert read(lines(line)) == ([Row(3, {"train/loss": 0.5}, None)], [])


NO_TIMES: list[object] = [None, "", "noon", [], {}, -1, 0, 1e300, math.nan, math.inf]


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (1784318345.9332526, 1784318345933),
        (1784318345, 1784318345000),
        ("2026-07-17T19:59:05.933Z", 1784318345933),
        *((timestamp, None) for timestamp in NO_TIMES),
    ],
)
def test_a_line_may_tell_its_time(timestamp: object, expected: int | None) -> None:
    """The time of a line is read from a number or from text, and a bad one costs only the time."""
    found, skipped = read(lines({"step": 1, "loss": 0.5, "timestamp": timestamp}))
    assert [row.at for row in found] == [expected]
    assert skipped == []


def test_lines_come_by_step_and_then_as_they_were_written() -> None:
    """Lines come in the order of steps, and within a step in the order of the file."""
    body = lines({"step": 2, "a": 1}, {"step": 1, "a": 2}, {"step": 2, "b": 3}, {"step": 2, "a": 4})
    found, _ = read(body)
    assert [(row.step, dict(row.metrics)) for row in found] == [
        *((1, {"a": 2.0}), (2, {"a": 1.0}), (2, {"b": 3.0}), (2, {"a": 4.0}))
    ]


def test_lines_that_cannot_be_read_are_counted() -> None:
    """Unreadable lines are counted in one sentence, and the others are read."""
    good = lines(*({"step": n, "a": n} for n in range(5)))
    bad = b'{"step": 7, "a"\n7\nnull\n{}\n{"step": "7"}\n{"step": 1.5}\n{"step": true}\n\n'
    found, skipped = read(good + bad)
    assert [row.step for row in found] == [0, 1, 2, 3, 4]
    assert skipped == ["7 of 12 lines of its metrics file cannot be read"]


def test_numbers_that_are_not_finite_are_named() -> None:
    """Numbers that are not finite are named: to most writers bare NaN and Infinity are JSON."""
    found, skipped = read(b'{"step": 1, "a": NaN, "b": 0.5, "c": -Infinity}\n')
    assert [dict(row.metrics) for row in found] == [{"b": 0.5}]
    assert skipped == ["step 1: a is not a finite number", "step 1: c is not a finite number"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_table_has_a_column_for_the_step(end: str, mark: str) -> None:
    """A table has a column for the step, and its cells without a number are skipped."""
    table = ["step,train_loss,note,epoch", "1,0.5,a,0", "2,,b,0", "3.0,0.25", '4,"1e-3",,1,9,9']
    body = (mark + end.join(table)).encode()
    assert form(body) == "csv"
    found, skipped = read(body)
    assert [(row.step, dict(row.metrics)) for row in found] == [
        *((1, {"train_loss": 0.5}), (2, {}), (3, {"train_loss": 0.25}), (4, {"train_loss": 0.001}))
    ]
    assert skipped == []


@pytest.mark.parametrize("order", [1, -1])
def test_a_step_counts_before_a_global_step(order: int) -> None:
    """The step counts before the global step of a line, in whichever order they come."""
    line = dict([("step", 3), ("global_step", 12), ("loss", 0.5)][::order])
    (row,), _ = read(lines(line))
    assert row.step == 3


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"\n\n", b"loss\n1\n", b"<html>step</html>", b"[]", b"{}", b'{"loss": 1}\n', b"1"),
        *(b'[{"step": 1}]', b"\xff\xfes\x00t\x00e\x00p\x00", b"PK\x03\x04", b"\x00"),
        *(b'"' + b"a" * 200_000, b"steps,loss\n1,2\n", b"a step,loss\n1,2\n", b"[" * 10**5),
    ],
)
def test_what_has_neither_form_has_no_rows(body: bytes) -> None:
    """A file in neither format gives no rows."""
    assert form(body) is None
    assert read(body) == ([], [])


@given(body=st.binary(max_size=200) | st.text().map(lambda text: text.encode("utf-8", "replace")))
def test_no_bytes_whatever_are_too_much(body: bytes) -> None:
    """Any bytes from a storage become rows, sentences, or nothing."""
    for start in (b"", b"step,loss\n", b'{"step": 1}\n'):
        read(start + body)


CELLS = st.floats() | st.integers() | st.text("0123456789.eE+-nafiNIF ,\n\"'", max_size=12)


@given(cells=st.lists(CELLS, min_size=1))
def test_what_is_read_of_junk_is_finite(cells: list[float | str]) -> None:
    """Junk gives finite values only: a number gives its row, anything else nothing."""
    table = ["step,loss", "0,0.5", *(f"{step},{cell}" for step, cell in enumerate(cells, 1))]
    found, skipped = read("\n".join(table).encode())
    assert any(row.step == 0 and "loss" in row.metrics for row in found)
    if not any("\n" in str(cell) for cell in cells):  # which adds rows, at any step
        assert (found[0].step, found[0].metrics["loss"]) == (0, 0.5)
    assert all(math.isfinite(value) for row in found for value in row.metrics.values())
    assert all(sentence for sentence in skipped)


@given(table=st.lists(st.tuples(STEPS, st.dictionaries(NAMES, FINITE, max_size=3)), min_size=1))
def test_what_was_written_is_read(table: list[tuple[int, dict[str, float]]]) -> None:
    """Every written number is read at its step, to the last digit, in either form of a line."""
    flat, _ = read(lines(*({**row, "step": step} for step, row in table)))
    inside, _ = read(lines(*({"step": step, "data": row} for step, row in table)))
    assert flat == inside
    assert [(row.step, row.metrics) for row in flat] == sorted(table, key=lambda row: row[0])
