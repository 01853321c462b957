"""The description of a run: its content, and its resistance to other people's markup."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from bridge.model import Checkpoint, Job, JobStatus, Snapshot
from bridge.plan.description.lineage import Lineage, with_lineage
from bridge.plan.description.note import note
from bridge.text import one_line

LONGEST = 4500
SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
CREATED = 1_723_885_698_000
PARENT, CHILD = "3f0c6d1fa2a94f5e8b7d6c5b4a392817", "9a8b7c6d5e4f40312213141516171819"

JOB = Job(
    id="ftjob-1",
    status=JobStatus.SUCCEEDED,
    provider_status="succeeded",
    created_at=CREATED,
    finished_at=CREATED + 793 * SECOND,
    base_model="gpt-4.1",
    fine_tuned_model="ft:gpt-4.1:us::a",
    trained_tokens=170_589,
    training_files=("file-t",),
    validation_files=("file-v",),
    page="https://platform.openai.com/finetune/ftjob-1",
)
ROWS = (
    Checkpoint(
        step=80,
        created_at=CREATED,
        model="ft:gpt-4.1:us::b:ckpt-step-80",
        metrics={"train_loss": 0.0028356313, "valid_loss": 0.0011850878, "valid_accuracy": 0.99862},
    ),
    Checkpoint(
        step=160, created_at=CREATED, model="ft:gpt-4.1:us::a", metrics={"train_loss": 3.60225e-5}
    ),
)

READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def described(
    job: Job = JOB,
    rows: Sequence[Checkpoint] = (),
    *,
    started_at: int | None = None,
    best: str | None = None,
    lineage: Lineage = Lineage(),  # noqa: B008 - frozen
    provider: str = "openai",
) -> str:
    """Return the note of a job."""
    snapshot = Snapshot(job=job, checkpoints=tuple(rows))
    return note(provider, snapshot, started_at=started_at, best=best, lineage=lineage)


def changed(**changes: object) -> Job:
    """Return the job with other values for some fields."""
    return dataclasses.replace(JOB, **changes)  # type: ignore[arg-type] # as the test says


def steps(*numbers: int, **metrics: float) -> tuple[Checkpoint, ...]:
    """Return rows of metrics without model names, as Mistral has them."""
    return tuple(Checkpoint(step=step, created_at=None, metrics=metrics) for step in numbers)


def models(*numbers: int) -> tuple[Checkpoint, ...]:
    """Return checkpoints that can be called."""
    return tuple(Checkpoint(step=n, created_at=None, metrics={}, model=f"ft:{n}") for n in numbers)


def table(text: str) -> list[list[str]]:
    """Return the cells of the note's table as a reader sees them, headings first."""
    rows: list[list[str]] = []
    for token in READER.parse(text):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows:
            rows[-1].append("".join(child.content for child in token.children or ()).strip())
        elif token.type == "table_close":
            return rows
    return rows


def shown_steps(text: str) -> list[int]:
    """Return the steps of the table's rows."""
    return [int(row[0].replace(",", "")) for row in table(text)[1:]]


# Content


def test_a_finished_job_is_reported_as_a_person_would_want_it() -> None:
    """State, times and tokens come first, then lineage, names and data, and the checkpoints."""
    text = described(
        rows=ROWS,
        started_at=CREATED + 64 * SECOND,
        best="ft:gpt-4.1:us::a",
        lineage=Lineage(PARENT, (CHILD,)),
    )
    assert text == (
        "**Succeeded** · queued for 1 min 4 s · trained for 12 min 9 s · 170,589 trained tokens  \n"
        f"Fine-tuned from [run `3f0c6d1f`](#/runs/{PARENT})."
        f" Fine-tuned further in [run `9a8b7c6d`](#/runs/{CHILD}).\n"
        "\n"
        "- Fine-tuned model: `ft:gpt-4.1:us::a`\n"
        "- Base model: `gpt-4.1`\n"
        "- Job: `ftjob-1` at `openai`"
        " ([open it there](https://platform.openai.com/finetune/ftjob-1))\n"
        "- Training data: `file-t`\n"
        "- Validation data: `file-v`\n"
        "\n"
        "| step&emsp; | `valid_loss`&emsp; | `train_loss`&emsp; | checkpoint |\n"
        "| --- | --- | --- | --- |\n"
        "| 80 | 0.001185 | 0.002836 | `ft:gpt-4.1:us::b:ckpt-step-80` |\n"
        "| 160 |  | 3.602e-05 | **best** `ft:gpt-4.1:us::a` |"
    )


def test_what_is_unknown_is_absent() -> None:
    """The note leaves out unknown facts."""
    job = Job(id="ftjob-1", status=JobStatus.QUEUED, provider_status="queued")
    assert described(job) == "**Queued**\n\n- Job: `ftjob-1` at `openai`"


@pytest.mark.parametrize(
    ("status", "word", "expected"),
    [
        (JobStatus.SUCCEEDED, "SUCCESS", "**Succeeded**"),
        (JobStatus.QUEUED, "VALIDATED", "**Queued** (`VALIDATED`)"),
        (JobStatus.RUNNING, "pausing", "**Running** (`pausing`)"),
        (JobStatus.FAILED, "FAILED_VALIDATION", "**Failed** (`FAILED_VALIDATION`)"),
        (JobStatus.VALIDATING, "validating_files", "**Validating**"),
        (JobStatus.UNKNOWN, "compressing", "**Unknown** (`compressing`)"),
        (JobStatus.UNKNOWN, "", "**Unknown**"),
    ],
)
def test_the_providers_word_is_there_if_it_adds_something(
    status: JobStatus, word: str, expected: str
) -> None:
    """The provider's word for the status is shown only if it adds something."""
    job = Job(id="j", status=status, provider_status=word)
    assert described(job).splitlines()[0] == expected


@pytest.mark.parametrize(
    ("started", "finished", "expected"),
    [
        (None, None, ""),
        (None, 90 * SECOND, " · took 1 min 30 s"),
        (5 * SECOND, None, " · queued for 5 s"),
        (5 * SECOND, 65 * SECOND, " · queued for 5 s · trained for 1 min"),
        (MINUTE, MINUTE + 2 * HOUR + 59 * SECOND, " · queued for 1 min · trained for 2 h"),
        (HOUR, 3 * DAY + 5 * HOUR + 10 * MINUTE, " · queued for 1 h · trained for 3 d 4 h"),
        (999, 999, " · queued for less than 1 s · trained for less than 1 s"),
        (-1, 59_999, " · trained for 1 min"),
        (-1, -2, ""),
        (10**18, 10**19, ""),
    ],
)
def test_times_are_reported_in_two_units(
    started: int | None, finished: int | None, expected: str
) -> None:
    """Times have two units, for queue and training if known, and impossible ones are left out."""
    ended = None if finished is None else CREATED + finished
    job = changed(finished_at=ended, trained_tokens=None)
    text = described(job, started_at=None if started is None else CREATED + started)
    assert text.splitlines()[0] == f"**Succeeded**{expected}"


def test_costs_and_many_files_are_reported() -> None:
    """Costs are in the provider's words, and many files are the first one and a count."""
    job = changed(cost="2.62 USD", training_files=tuple("abcde"), validation_files=())
    lines = described(job).splitlines()
    assert lines[0].endswith(" · cost `2.62 USD`")
    assert "- Training data: `a`, `b`, `c` and 2 more" in lines
    assert not [line for line in lines if "Validation" in line]


@pytest.mark.parametrize(
    "page",
    [
        "http://platform.openai.com/x",
        "javascript:alert(1)",
        "https://",
        "https://openai.com@evil.example/",
        "https://openai.com/a b",
        "https://openai.com/a)b",
        "https://openai.com/a\nb",
        "https://openai.com/" + "a" * 300,
        "",
    ],
)
def test_only_a_plain_https_address_is_linked(page: str) -> None:
    """Only a plain https address becomes a link, and any other is left out."""
    assert "](" not in described(changed(page=page))


# Failures


def test_a_failure_is_quoted_and_explained() -> None:
    """The error comes right below the state, then the remedy."""
    error = "invalid_training_file: Example 100 has no role"
    failed = changed(status=JobStatus.FAILED, provider_status="failed", error=error)
    state, quotation, advice, _ = described(failed).split("\n\n")
    assert state.startswith("**Failed**")
    assert quotation == f"> `{error}`"
    assert advice.startswith("The provider does not accept the training file: ")
    assert advice.endswith("start a new job.")


@pytest.mark.parametrize(
    ("error", "word", "advice"),
    [
        ("exceeded_quota: too dear", "failed", "credit"),
        ("insufficient_quota", "failed", "credit"),
        ("quotaExceeded: no more", "failed", "quota"),
        ("unsafe_file: blocked", "failed", "moderation"),
        ("invalid_validation_file: no", "failed", "validation file"),
        ("invalid_n_examples: 3, not 10", "failed", "number of examples"),
        ("server_error: oh", "failed", "fault is the provider's"),
        ("validation failed", "FAILED_VALIDATION", "files or settings"),
        (None, "FAILED_VALIDATION", "files or settings"),
    ],
)
def test_known_codes_are_explained(error: str | None, word: str, advice: str) -> None:
    """A known code gets a sentence with the cause and the remedy."""
    failed = changed(status=JobStatus.FAILED, provider_status=word, error=error)
    blocks = described(failed).split("\n\n")
    assert advice in blocks[1 if error is None else 2]


@pytest.mark.parametrize("error", ["brand_new: x", "x: invalid_training_file", "no code at all"])
def test_unknown_codes_are_only_quoted(error: str) -> None:
    """An unknown code is quoted without an explanation."""
    failed = changed(status=JobStatus.FAILED, provider_status="failed", error=error)
    blocks = described(failed).split("\n\n")
    assert blocks[1] == f"> `{error}`"
    assert blocks[2].startswith("- Fine-tuned model: ")


# Checkpoints


def test_few_rows_are_all_shown() -> None:
    """A few rows are all shown, without a count of others."""
    text = described(rows=models(1, 2, 3), best="ft:2")
    assert table(text) == [
        ["step", "checkpoint"],
        ["1", "ft:1"],
        ["2", "best ft:2"],
        ["3", "ft:3"],
    ]
    assert "Rows shown" not in text


def test_of_many_checkpoints_the_newest_and_the_best_are_shown() -> None:
    """The newest checkpoints are shown and the best one, however old it is."""
    text = described(rows=models(*range(1, 2001)), best="ft:2")
    assert shown_steps(text) == [2, 1996, 1997, 1998, 1999, 2000]
    assert text.endswith("Rows shown: 6 of 2,000, the newest and the best.")
    assert "best" not in described(rows=models(*range(1, 9)), best="elsewhere")


def test_checkpoints_that_cannot_be_called_give_way_to_those_that_can() -> None:
    """Checkpoints with a model name are shown, and if some have one, the others are left out."""
    rows = sorted([*models(2, 4), *steps(1, 3, 5, valid_loss=1.0)], key=lambda row: row.step)
    text = described(rows=rows)
    assert shown_steps(text) == [2, 4]
    assert text.endswith("Rows shown: 2 of 5, the newest that can be called.")


def test_a_name_that_many_checkpoints_share_makes_no_more_rows() -> None:
    """A model name that all checkpoints share adds no rows."""
    rows = [dataclasses.replace(row, model="same") for row in models(*range(20))]
    assert [row[-1] for row in table(described(rows=rows, best="same"))[1:]] == ["best same"] * 6


def test_without_models_the_validated_steps_are_shown() -> None:
    """Without models only validated steps are shown, because all steps would bury them."""
    rows = [
        row
        for step in range(1, 1000)
        for row in steps(step, **{"train_loss" if step % 100 else "valid_loss": 1.0})
    ]
    text = described(rows=rows)
    assert shown_steps(text) == [400, 500, 600, 700, 800, 900]
    assert text.endswith("Rows shown: 6 of 999, the newest with validation.")


def test_without_models_and_validation_the_newest_steps_are_shown() -> None:
    """Without models and validation the newest steps are shown with their training loss."""
    text = described(rows=steps(*range(1, 101), train_loss=1.0))
    assert shown_steps(text) == [95, 96, 97, 98, 99, 100]
    assert text.endswith("Rows shown: 6 of 100, the newest.")


def test_rows_that_say_nothing_make_no_table() -> None:
    """Rows with only steps make no table."""
    assert described(rows=steps(1, 2)) == described()


def test_losses_come_first_and_columns_are_few() -> None:
    """The columns are few, losses first, with four digits per number."""
    metrics = {f"scores.{n}": 1.0 for n in range(40)}
    metrics |= {"mean_reward": 12345.678, "valid_accuracy": 0.5, "train_loss": 2 / 3, "a_loss": 1.0}
    assert table(described(rows=steps(7, **metrics)))[:2] == [
        ["step", "a_loss", "train_loss", "mean_reward"],
        ["7", "1", "0.6667", "1.235e+04"],
    ]


def test_the_metric_that_makes_the_best_checkpoint_comes_first() -> None:
    """The metric that chooses the best checkpoint comes first, with its direction below."""
    rows = tuple(
        Checkpoint(step=n, created_at=None, model=f"ft:{n}", metrics=scores)
        for n, scores in enumerate(
            ({"a_loss": 0.1, "b_loss": 0.2, "mean_reward": r} for r in (0.5, 0.4)), 1
        )
    )
    text = note(
        *("openai", Snapshot(job=JOB, checkpoints=rows)),
        started_at=None,
        best="ft:1",
        lineage=Lineage(),
        metric=lambda name: f"my_{name}",
        measure="mean_reward",
        is_highest=True,
    )
    assert table(text)[0] == ["step", "my_mean_reward", "my_a_loss", "checkpoint"]
    assert text.endswith("\n\nBest: the highest `my_mean_reward`.")


@given(order=st.permutations(["train_loss", "valid_loss", "b", "a"]))
def test_the_order_of_the_metrics_in_a_reply_does_not_matter(order: list[str]) -> None:
    """The order of metrics in a reply does not change the note."""
    text = described(rows=steps(1, **dict.fromkeys(order, 0.5)))
    assert table(text)[0] == ["step", "valid_loss", "train_loss", "a"]


# Lineage

run_ids = st.sampled_from(["", "a" * 32, "0" * 64, "a_b-c"]) | st.text(max_size=80)
lineages = st.builds(
    Lineage,
    parent=st.none() | run_ids,
    children=st.lists(run_ids, max_size=9).map(tuple),
)


def test_of_many_children_a_few_are_linked() -> None:
    """A few of many children are linked and the others counted; impossible run ids are left out."""
    children = tuple(f"{number:032x}" for number in range(8))
    text = with_lineage("x", Lineage(None, ("](evil)", *children)))
    assert text.count("](") == text.count("](#/runs/0000") == 5
    assert text.endswith(" and 3 more.")
    assert with_lineage("x", Lineage("](evil)")) == "x"


def test_a_longer_name_gives_way_to_the_beginning_of_the_id() -> None:
    """A name of more than eighty characters gives way to the run's id, and the note always fits."""
    parent, *children = (f"{number:064x}"[::-1] for number in range(7))
    fits = Lineage(parent, tuple(children), dict.fromkeys((parent, *children), "n" * 80))
    text = with_lineage("x" * 3800, fits)
    assert text.count(f"[`{'n' * 80}`](#/runs/") == 6
    assert len(text) <= 4900
    longer = Lineage(parent, names={parent: "n" * 81})
    assert with_lineage("x", longer) == f"x  \nFine-tuned from [run `00000000`](#/runs/{parent})."


@given(old=lineages, new=lineages, text=st.text("\nFx", max_size=9) | st.text(max_size=60))
def test_only_the_lineage_is_replaced(old: Lineage, new: Lineage, text: str) -> None:
    """Only the lineage is replaced, whatever surrounds it."""
    rows = (*ROWS, *models(*range(200, 210)))
    assert with_lineage(described(rows=rows, lineage=old), new) == described(rows=rows, lineage=new)
    assert with_lineage(with_lineage(text, old), new) == with_lineage(text, new)
    assert with_lineage(text, Lineage()) == text


def test_what_only_sounds_like_a_lineage_is_kept() -> None:
    """A person's text that resembles a lineage is kept."""
    text = "x\n\nFine-tuned from scratch, see [run 7](y)."
    assert with_lineage(text, Lineage()) == text


# Other people's text

PAYLOADS = (
    "<img src=x onerror=alert(1)>",
    "<code>",
    "</code>",
    "\\<",
    "<!--",
    "<https://evil.example>",
    "[x](javascript:alert(1))",
    "![x](https://evil.example/x.png)",
    "https://evil.example",
    "www.evil.example",
    "a@evil.example",
    "@octocat",
    ":smile:",
    "`",
    "``",
    "```\n",
    "\\",
    "|",
    "\\|",
    "|---|---|",
    "\n\n# heading\n\n",
    "\n---\n",
    "\n- item\n> quote\n",
    "\n\nFine-tuned from [run x](y)\n\n",
    "**",
    "__",
    "~~",
    "&lt;b&gt;&#124;",
    "[1]: https://evil.example",
    "\u202e",
    "\u2028",
    "\x00",
    " ",
)
fragments = st.sampled_from(PAYLOADS) | st.text(max_size=6)
around = st.lists(fragments, max_size=3).map(lambda parts: "".join(parts)[:60])
hostile = st.builds("{}x{}".format, around, around)
"""Hostile texts with a visible part: others are left out, which changes the structure."""


def written_by(texts: Sequence[str]) -> str:
    """Return the note of a job in which every field has a hostile text."""
    word, error, cost, *names = texts
    job, base, model, train, valid, best, *metrics = names
    return described(
        changed(
            id=job,
            status=JobStatus.FAILED,
            provider_status=word,
            error=error,
            cost=cost,
            base_model=base,
            fine_tuned_model=model,
            training_files=(train, train),
            validation_files=(valid,),
        ),
        [Checkpoint(step=1, created_at=1, metrics=dict.fromkeys(metrics, 1.0), model=best)],
        best=best,
        lineage=Lineage(PARENT),
    )


def shape(tokens: Sequence[Token]) -> Iterator[tuple[object, ...]]:
    """Return the rendered content of a note outside its code spans."""
    for token in tokens:
        content = token.content if token.type == "text" else ""
        yield token.type, token.tag, token.nesting, tuple(token.attrs.items()), content
        yield from shape(token.children or ())


def code(tokens: Sequence[Token]) -> Iterator[str]:
    """Return the contents of the code spans."""
    for token in tokens:
        if token.type == "code_inline":
            yield token.content.replace("\u200b", "")
        yield from code(token.children or ())


@given(texts=st.lists(hostile, min_size=11, max_size=11))
def test_what_others_write_is_only_ever_code(texts: list[str]) -> None:
    """The note has the same structure and words with hostile text as with plain names."""
    metrics = [f"{text[:50]}{number}" for number, text in enumerate(texts[-2:])]
    plain = [f"x{number}" for number in range(len(texts))]
    tokens = READER.parse(written_by([*texts[:-2], *metrics]))
    assert [*shape(tokens)] == [*shape(READER.parse(written_by(plain)))]


@given(error=hostile, model=hostile)
def test_what_others_write_can_be_read(error: str, model: str) -> None:
    """Other people's text is readable word for word on one line, except for bars in tables."""
    shown = [*code(READER.parse(written_by(["failed", error, *("x",) * 6, model, "a", "b"])))]
    assert shown[2] == one_line(error).strip().replace("\u200b", "")
    assert shown[-1] == one_line(model.replace("|", "¦")).strip().replace("\u200b", "")


@given(texts=st.lists(hostile, min_size=11, max_size=11))
def test_there_is_no_tag_even_for_readers_that_look_for_tags_first(texts: list[str]) -> None:
    """No tag appears even to MLflow's reader, which finds tags within code spans too."""
    text = written_by(texts)
    assert not re.search(r"<[a-zA-Z/!?]|\\<", text)
    assert not re.search("[\u202e\u2028\x00]", text)


@given(page=st.builds("https://{}".format, hostile) | hostile)
def test_a_link_leads_where_the_provider_said(page: str) -> None:
    """A link leads by https to the named host, or is left out."""
    links = [
        str(attributes[0][1])
        for kind, _, _, attributes, _ in shape(READER.parse(described(changed(page=page))))
        if kind == "link_open" and isinstance(attributes, tuple)
    ]
    assert len(links) <= 1
    for link in links:
        assert urlsplit(link).scheme == "https"
        assert urlsplit(link).netloc.casefold() == urlsplit(page).netloc.casefold()


@pytest.mark.parametrize("nothing", ["", " \n", "\x00", "\u202e\u2066"])
def test_what_cannot_be_seen_is_left_out(nothing: str) -> None:
    """Invisible text is left out, because an empty code span would pair with others."""
    rows = [Checkpoint(step=1, created_at=1, metrics={nothing: 1.0, "loss": 1.0}, model=nothing)]
    job = changed(base_model=nothing, error=nothing, cost=nothing, training_files=(nothing, "a"))
    text = described(job, rows, best=nothing)
    assert "``" not in text
    assert "Base model" not in text
    assert [name for name in table(text)[0] if name != "checkpoint"] == ["step", "loss"]
    assert "- Training data: `a`\n" in text


# Length

long_texts = st.sampled_from(
    ["\\<a" * 999, "`" * 999, "`\\<a" * 999, "`\\<a``" + "\\<a" * 999, "| " * 999, "x"]
)


@pytest.mark.long
@settings(max_examples=100 if os.environ.get("SOAK") else 25)  # each takes 50 ms
@given(texts=st.lists(long_texts, min_size=9, max_size=9), count=st.integers(0, 30))
def test_a_note_is_never_too_long_and_never_without_its_error(texts: list[str], count: int) -> None:
    """A long note loses rows first, and never its state or its error."""
    word, error, cost, job, base, model, train, valid, best = texts
    rows = [
        Checkpoint(
            step=10**14 + step,
            created_at=None,
            metrics={f"{best}{kind}": -1.2345e-300 for kind in "abcdefg"},
            model=f"{step}{best}",
        )
        for step in range(count)
    ]
    text = described(
        changed(
            id=job,
            status=JobStatus.FAILED,
            provider_status=word,
            error=f"unsafe_file: {error}",
            cost=cost,
            base_model=base,
            fine_tuned_model=model,
            training_files=(train,) * 50,
            validation_files=(valid,) * 50,
            trained_tokens=10**14,
            finished_at=CREATED + 999 * DAY,
            page="https://" + "a" * 292,
        ),
        rows,
        best=f"0{best}",
        started_at=CREATED + 99 * DAY,
        provider=job,
        lineage=Lineage("a" * 64, ("b" * 64,) * 2000),
    )
    assert len(text) <= LONGEST
    assert text.startswith("**Failed** (")
    tokens = READER.parse(text)
    assert one_line(f"unsafe_file: {error}", 700) in [*code(tokens)]
    assert "Fine-tuned further in" in text


@given(count=st.integers(1, 40), length=st.integers(1, 150))
def test_rows_give_way_from_the_oldest(count: int, length: int) -> None:
    """Rows are dropped from the oldest on, and the best one stays."""
    rows = [
        dataclasses.replace(row, model=f"{row.step}-{'<a' * length}")
        for row in models(*range(1, count + 1))
    ]
    error = "`<a" * 300
    text = described(changed(error=error), rows, best=rows[0].model)
    shown = shown_steps(text)
    assert shown[0] == 1
    assert shown[1:] == [*range(count - len(shown) + 2, count + 1)]
    assert len(text) <= LONGEST


@pytest.mark.parametrize("number", [-1, 10**15, 10**5000], ids=["less", "more", "endless"])
def test_numbers_that_cannot_be_are_left_out(number: int) -> None:
    """Impossible numbers are left out, including those with more digits than Python writes."""
    text = described(changed(trained_tokens=number), steps(number, loss=1.0))
    assert "tokens" not in text
    assert table(text)[1] == ["", "1"]
    assert table(described(rows=steps(0, loss=1.0)))[1] == ["0", "1"]


def test_an_accuracy_above_1_is_explained() -> None:
    """An accuracy above 1, which is a perplexity, gets an explanation."""

    def said(accuracy: float, **others: float) -> str:
        metrics = {"valid_loss": 0.5, "valid_mean_token_accuracy": accuracy, **others}
        checkpoint = Checkpoint(step=1, created_at=CREATED, metrics=metrics)
        snapshot = Snapshot(job=JOB, checkpoints=(checkpoint,))
        return note("mistral", snapshot, started_at=None, best=None, lineage=Lineage())

    assert "`valid_mean_token_accuracy` is above 1" in said(1.414)
    assert "`train_accuracy` is above 1" in said(1.414, train_accuracy=2.0), "the first by name"
    assert "is above 1" not in said(1.0)
    assert "perplexity" in said(1.414)
    assert "perplexity" not in said(0.9)
