"""The stored views and the description of an experiment, in a real MLflow."""

from __future__ import annotations

import json

import pytest
from mlflow import MlflowClient

from bridge.plan.metric_names import Losses
from bridge.tracking import Tracking, views

OPENAI = Losses(valid=("full_valid_loss",), batch_valid=("valid_loss",), train=("train_loss",))
TOGETHER = Losses(valid=("eval/loss",), train=("train/loss",))
NOTE = "mlflow.note.content"
LINKS = "[Charts](#/experiments/{}/runs?workflowType=machine_learning&compareRunsMode=CHART"


def charted(tags: dict[str, str]) -> list[str]:
    """Return the metrics of the charts, in the order in which the UI draws them."""
    view = json.loads(tags[views.tag_of(views.CHARTS)])
    return [chart["metricKey"] for chart in json.loads(view["state"])["compareRunCharts"]]


def columns(tags: dict[str, str]) -> list[str]:
    """Return the columns of the table."""
    view = json.loads(tags[views.tag_of(views.TABLE)])
    found: list[str] = json.loads(view["state"])["selectedColumns"]
    return found


def tags_of(tracking: Tracking, name: str) -> dict[str, str]:
    """Return an experiment's tags, as a user's client sees them."""
    (found,) = MlflowClient(tracking.uri).search_experiments(filter_string=f"name = {name!r}")
    return dict(found.tags)


def test_a_new_experiment_has_both_views_and_links_to_them(tracking: Tracking) -> None:
    """A new experiment has losses first in the table and on the charts, and links to both views."""
    found = tracking.experiment("new", create=True, losses=OPENAI)
    tags = tags_of(tracking, "new")
    assert charted(tags) == ["train_loss", "full_valid_loss"]
    assert columns(tags)[:4] == [
        "metrics.`full_valid_loss`",
        "metrics.`valid_loss`",
        "metrics.`train_loss`",
        "tags.`fine_tuning_state`",
    ]
    assert tags[NOTE].startswith(LINKS.format(found))
    assert "metrics.full_valid_loss < 0.5" in tags[NOTE]
    assert tracking.page(found or "").endswith(
        f"/#/experiments/{found}/runs?workflowType=machine_learning&compareRunsMode=CHART"
        "&viewStateShareKey=ftbridge-charts"
    )


def test_an_experiment_of_a_user_gets_the_views_too(tracking: Tracking) -> None:
    """A user's experiment gets the views, and the links if its description is empty."""
    client = MlflowClient(tracking.uri)
    for name, text in (("empty", ""), ("written", "Mine.")):
        client.create_experiment(name, tags={NOTE: text} if text else {})
        tracking.experiment(name, create=True, losses=OPENAI)
        assert charted(tags_of(tracking, name)) == ["train_loss", "full_valid_loss"]
    assert tags_of(tracking, "empty")[NOTE].startswith("[Charts](#/experiments/")
    assert tags_of(tracking, "written")[NOTE] == "Mine."


def test_a_description_of_an_earlier_version_gets_the_links(tracking: Tracking) -> None:
    """A description of an earlier version gets the links above its text."""
    old = "Fine-tuning jobs that run at hosted APIs, copied here by ftbridge beside local runs.\n"
    found = MlflowClient(tracking.uri).create_experiment("old", tags={NOTE: old})
    tracking.experiment("old", create=True, losses=OPENAI)
    note = tags_of(tracking, "old")[NOTE]
    assert note.startswith(LINKS.format(found))
    assert note.endswith(f"\n\n{old}")


def test_what_a_user_takes_away_or_adds_stays_so(tracking: Tracking) -> None:
    """An emptied description stays empty, and a text below the links is unchanged."""
    found = tracking.experiment("here", create=True, losses=OPENAI) or ""
    client = MlflowClient(tracking.uri)
    for text in (" ", f"{tags_of(tracking, 'here')[NOTE]}\nMine.", "Mine alone."):
        client.set_experiment_tag(found, NOTE, text)
        tracking.experiment("here", create=True, losses=OPENAI)
        assert tags_of(tracking, "here")[NOTE] == text


def test_each_provider_adds_its_losses_and_none_is_written_twice(tracking: Tracking) -> None:
    """Two providers share the views, and neither writes them again in later passes."""
    found = tracking.experiment("both", create=True, losses=OPENAI) or ""
    tracking.experiment("both", create=True, losses=TOGETHER)
    tags = tags_of(tracking, "both")
    assert charted(tags) == ["train_loss", "full_valid_loss", "train/loss", "eval/loss"]
    before = MlflowClient(tracking.uri).get_experiment(found).last_update_time
    for losses in (OPENAI, TOGETHER, OPENAI, Losses()):
        tracking.experiment("both", create=True, losses=losses)
    assert tags_of(tracking, "both") == tags
    assert MlflowClient(tracking.uri).get_experiment(found).last_update_time == before


def test_looking_writes_nothing(tracking: Tracking) -> None:
    """A dry run, a check and a status leave an experiment as it is."""
    MlflowClient(tracking.uri).create_experiment("seen")
    found = tracking.experiment("seen", create=False) or ""
    assert tags_of(tracking, "seen") == {}
    assert "viewStateShareKey" not in tracking.page(found)


@pytest.mark.parametrize("stored", ["", "nonsense", "[]", "{}", '{"metrics": 7}', "[" * 100_000])
def test_a_view_that_somebody_else_stored_is_replaced(stored: str) -> None:
    """A stored view that somebody edited is replaced."""
    found = views.wanted({views.tag_of(views.CHARTS): stored}, OPENAI)
    assert charted(found) == ["train_loss", "full_valid_loss"]


def test_a_view_can_be_made_to_show_new_names_only() -> None:
    """After a rename the views can show only the new names."""
    old = views.wanted({}, OPENAI)
    new = Losses(valid=("eval_loss",), train=("loss",))
    assert charted(views.wanted(old, new, only=True)) == ["loss", "eval_loss"]
    assert charted(views.wanted(old, new)) == ["train_loss", "full_valid_loss", "loss", "eval_loss"]


def test_the_views_are_written_in_the_words_of_the_ui() -> None:
    """The stored views have the keys and values with which MLflow's UI saves its views."""
    losses = Losses(valid=("valid_loss",), train=("a_train_loss",))
    found = views.wanted({}, losses)
    assert [*found] == [f"mlflow.sharedViewState.{key}" for key in ("ftbridge", "ftbridge-charts")]
    table, charts = (json.loads(view) for view in found.values())
    columns = ["metrics.`valid_loss`", "metrics.`a_train_loss`", "tags.`fine_tuning_state`"]
    columns += ["tags.`base_model`", "attributes.`Models`", "attributes.`Dataset`"]
    columns += ["tags.`fine_tuned_model`"]
    times = {"createdAt": 0, "updatedAt": 0}
    assert json.loads(table.pop("state")) == {
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": dict(zip(columns[:4], (120, 136, 140, 220), strict=True))
        | dict(zip(columns[5:], (150, 420), strict=True)),
    }
    assert table == {
        "name": "Fine-tuning jobs",
        **times,
        "metrics": ["valid_loss", "a_train_loss"],
    }
    state = json.loads(charts.pop("state"))
    assert charts == {
        "name": "Losses, hosted and local",
        **times,
        "metrics": ["a_train_loss", "valid_loss"],
    }
    for chart, name in zip(state.pop("compareRunCharts"), charts["metrics"], strict=True):
        assert chart == {
            "uuid": f"ftbridge-losses-{name}",
            "type": "LINE",
            "metricSectionId": "ftbridge-losses",
            "metricKey": name,
            "selectedMetricKeys": [name],
            "xAxisKey": "step",
            "yAxisKey": "metric",
            "yAxisExpressions": [],
            "xAxisScaleType": "linear",
            "scaleType": "linear",
            "range": {},
            "selectedXAxisMetricKey": "",
            "lineSmoothness": 0,
            "useGlobalXaxisKey": True,
            "useGlobalLineSmoothing": True,
            "ignoreOutliers": False,
            "isGenerated": False,
            "deleted": False,
        }
    first, *others = state.pop("compareRunSections")
    assert first == {
        "uuid": "ftbridge-losses",
        "name": "Losses",
        "display": True,
        "isReordered": True,
        "columns": 2,
        "cardHeight": 400,
    }
    assert others == [
        {"uuid": f"ftbridge-{name}", "name": name, "display": False, "isReordered": False}
        for name in ("Model metrics", "System metrics")
    ]
    assert state == {"runsHiddenMode": "SHOW_ALL", "isAccordionReordered": True}


@pytest.mark.parametrize(("name", "width"), [("loss", 110), ("12345678", 110), ("123456789", 112)])
def test_a_column_is_as_wide_as_its_title(name: str, width: int) -> None:
    """A metric's column has room for its name, and a least width."""
    (view,) = (
        view for key, view in views.wanted({}, Losses(valid=(name,))).items() if "ch" not in key
    )
    widths = json.loads(json.loads(view)["state"])["columnWidths"]
    assert widths[f"metrics.`{name}`"] == width


def test_only_texts_are_names() -> None:
    """Only names that are texts are taken from a view that somebody else stored."""
    stored = json.dumps({"metrics": [1, None, "mine", ["x"]]})
    found = views.wanted({views.tag_of(views.TABLE): stored}, Losses(valid=("valid_loss",)))
    assert columns(found)[:2] == ["metrics.`mine`", "metrics.`valid_loss`"]


def test_views_that_are_there_are_not_written() -> None:
    """Only the view that differs is written."""
    tags = views.wanted({}, OPENAI)
    assert views.wanted(tags, OPENAI) == {}
    del tags[views.tag_of(views.TABLE)]
    assert [*views.wanted(tags, OPENAI)] == [views.tag_of(views.TABLE)]
