"""Reading wire objects: only wrong values are left out."""

from __future__ import annotations

import copy
import json
import math
from typing import ClassVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from bridge.errors import BadReply
from bridge.providers.records import (
    Identifier,
    Number,
    Record,
    read_record,
    read_rows,
)
from bridge.text import clean


class Part(Record):
    """A part that requires its size."""

    size: int = Field(ge=0, lt=100)
    label: str | None = None


class Whole(Record):
    """A record with every kind of field that the providers' records have."""

    wire_name: ClassVar = "whole"

    id: Identifier
    word: str | None = None
    number: Number | None = None
    words: list[str] | None = None
    table: dict[str, Number | None] | None = None
    anything: dict[str, object] | None = None
    part: Part | None = None
    parts: list[Part] | None = None


RIGHT: dict[str, object] = {
    "id": "an-id",
    "word": "a word",
    "number": 1.5,
    "words": ["a", "b", "c"],
    "table": {"x": 1.0, "y": 2.0, "z": None},
    "anything": {"a": [1, {"b": None}]},
    "part": {"size": 1, "label": "p"},
    "parts": [{"size": 2, "label": "q"}, {"size": 3, "label": "r"}],
}
WHOLE = Whole.model_validate(RIGHT)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*RIGHT, "size", "label", "x", "\ud800"]), inner)
    ),
    max_leaves=12,
)


def without(*path: str | int) -> Whole:
    """Return a right record without the value at ``path``."""
    data: object = copy.deepcopy(RIGHT)
    inner = data
    for key in path[:-1]:
        inner = inner[key]  # type: ignore[index] # the paths below are of RIGHT
    del inner[path[-1]]  # type: ignore[attr-defined] # as above
    return Whole.model_validate(data)


def with_value(value: object, *path: str | int) -> dict[str, object]:
    """Return a right record with another value at ``path``."""
    data = copy.deepcopy(RIGHT)
    inner: object = data
    for key in path[:-1]:
        inner = inner[key]  # type: ignore[index] # as above
    inner[path[-1]] = value  # type: ignore[index] # as above
    return data


def test_what_is_right_is_read_whole() -> None:
    """A record without a fault is read whole."""
    assert read_record(Whole, RIGHT) == (WHOLE, ())


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (5, ("word",)),
        ("1.5", ("number",)),
        (True, ("number",)),
        ("a", ("words",)),
        (7, ("words", 1)),
        (None, ("words", 0)),
        ("1", ("table", "x")),
        (False, ("table", "y")),
        ({}, ("table", "y")),
        ([], ("table",)),
        ("none", ("anything",)),
        ("p", ("part",)),
        (9, ("part", "label")),
        (None, ("parts", 0)),
        ("q", ("parts", 1)),
        ([], ("parts", 1, "label")),
    ],
)
def test_a_wrong_value_is_left_out_only(value: object, path: tuple[str | int, ...]) -> None:
    """A wrong value at any depth is left out and named, and everything around it is kept."""
    record, skipped = read_record(Whole, with_value(value, *path))
    assert record == without(*path)
    (sentence,) = skipped
    assert sentence.startswith(".".join(map(str, path)))


@pytest.mark.parametrize("size", ["big", None, -1, 100, 1.5, 10**400, math.nan])
def test_a_part_whose_core_is_wrong_is_left_out_whole(size: object) -> None:
    """A part with a wrong size is left out whole, and the other parts are kept."""
    record, skipped = read_record(Whole, with_value(size, "parts", 0, "size"))
    assert record == without("parts", 0)
    assert skipped


def test_a_part_whose_core_is_missing_is_left_out_whole() -> None:
    """A part without its size is left out whole, as one with a wrong size is."""
    record, skipped = read_record(Whole, with_value({"label": "q"}, "parts", 0))
    assert record == without("parts", 0)
    (sentence,) = skipped
    assert sentence.startswith("parts.0.size")


@given(
    names=st.sets(
        st.sampled_from(["word", "number", "words", "table", "anything", "part", "parts"])
    )
)
def test_any_number_of_wrong_values_leaves_the_right_ones(names: set[str]) -> None:
    """Any number of wrong values gives as many sentences, and keeps every right value."""
    wrong = dict.fromkeys(names, 1j)
    record, skipped = read_record(Whole, RIGHT | wrong)
    assert len(skipped) == len(names)
    expected = {name: value for name, value in RIGHT.items() if name not in names}
    assert record == Whole.model_validate(expected)


def test_a_name_that_is_no_unicode_costs_its_table_only() -> None:
    """Half a surrogate pair in a name costs its table, although pydantic reports it differently."""
    for table in ({"x": 1.0, "\ud800": False}, dict.fromkeys(("\ud800", "\udfff"), False)):
        record, skipped = read_record(Whole, RIGHT | {"table": table})
        assert record == without("table")
        assert skipped


@given(data=json_values)
@example(data={"id": "a", "table": {"\ud800": False}})
def test_any_json_is_a_record_or_a_bad_reply(data: object) -> None:
    """Any JSON gives a record or a bad reply, with plain sentences."""
    before = repr(data)
    records, unreadable = read_rows(Whole, [data])
    assert len(records) + len(unreadable) == 1
    assert all(sentence.startswith("A whole ") for sentence in unreadable)
    said = [*unreadable, *(sentence for _, skipped in records for sentence in skipped)]
    assert all(sentence and sentence.isprintable() for sentence in said)
    assert repr(data) == before, "what was given is not changed"


def test_what_was_given_is_not_changed() -> None:
    """The reader works on a copy and leaves its input unchanged."""
    data = with_value(5, "parts", 0, "label")
    before = json.dumps(data)
    assert read_record(Whole, data)[1]
    assert json.dumps(data) == before


@pytest.mark.parametrize("data", [None, [], "text", 7, {}, {"id": None}, {"id": 5}, [RIGHT]])
def test_without_its_core_there_is_no_record(data: object) -> None:
    """A record without an id is refused, with a sentence that names the kind of record."""
    with pytest.raises(BadReply, match=r"^A whole cannot be read"):
        read_record(Whole, data)


@pytest.mark.parametrize("number", [1, 49, 50, 51, 500])
def test_a_list_full_of_wrong_parts_is_left_out_part_by_part(number: int) -> None:
    """A list with many wrong parts loses only these."""
    parts = [{"size": n % 100, "label": n} for n in range(number)]
    record, skipped = read_record(Whole, {"id": "a", "word": "kept", "parts": parts})
    assert (record.id, record.word) == ("a", "kept")
    assert [part.size for part in record.parts or ()] == [n % 100 for n in range(number)]
    assert skipped


def test_rows_are_read_one_by_one() -> None:
    """Each row is a record or a sentence, in order."""
    records, unreadable = read_rows(
        Whole, [{"id": "a"}, None, {"id": "b", "word": 5}, {"id": ""}, {"id": "c"}]
    )
    assert [(record.id, len(skipped)) for record, skipped in records] == [
        ("a", 0),
        ("b", 1),
        ("c", 0),
    ]
    assert len(unreadable) == 2


def nested(depth: int) -> dict[str, object]:
    """Return objects within objects."""
    value: dict[str, object] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("depth", [10, 300, 900])
def test_depth_is_no_way_to_break_the_reader(depth: int) -> None:
    """A row that is nested too deep is at worst unreadable, and the rows around it are read."""
    deep = {"id": "deep", "word": 5, "news": nested(depth)}
    records, unreadable = read_rows(Whole, [{"id": "a"}, deep, {"id": "b"}])
    ids = [record.id for record, _ in records]
    assert {"a", "b"} <= set(ids)
    assert len(ids) + len(unreadable) == 3


def test_a_sentence_about_a_strange_key_is_plain() -> None:
    """A sentence cuts and cleans a strange key, which is a provider's text as well."""
    table = {"\x1b[31m\u202e\n" + "k" * 5000: "wrong"}
    _, (sentence,) = read_record(Whole, {"id": "a", "table": table})
    assert sentence.isprintable()
    assert len(sentence) < 300


# Ids


class Named(BaseModel):
    """A row with an id."""

    id: Identifier


def is_identifier(text: str) -> bool:
    """Return whether a text can be an id."""
    try:
        Named(id=text)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    [
        "ftjob-abc123",
        "20178c3c-d75b-428e-b20d-7d39aa2b7468",
        "a b",
        "a/b'c\"d%e?f#g",
        "größe",
        "日本",
        "🦙",
        "..",
        "x" * 250,
    ],
)
def test_ids_may_hold_what_a_person_can_read(text: str) -> None:
    """Every readable text that a tag can hold unchanged is an id."""
    assert is_identifier(text)


@pytest.mark.parametrize(
    "text",
    ["", "x" * 251, "a\n", "\na", "a\tb", "a\r", "a\x00", "\x7f", "\x1b[0m", "half \ud800"],
)
def test_ids_do_not_hold_what_would_be_changed(text: str) -> None:
    """A text that would be changed is refused as an id."""
    assert not is_identifier(text)


@given(text=st.text(st.characters(), max_size=20))
def test_an_id_stays_what_it_is_when_it_is_written(text: str) -> None:
    """Cleaning leaves every accepted id unchanged, so that the tag that finds a run holds it."""
    if is_identifier(text):
        assert clean(text, 5000) == text


@pytest.mark.parametrize("character", ["\x80", "\x85", "\x9b", "\u200e", "\u202e", "\u2067"])
def test_ids_do_not_hold_what_cleaning_takes_out(character: str) -> None:
    """C1 controls and bidirectional overrides are refused in an id: a tag would lose them."""
    assert not is_identifier(f"a{character}b")
