"""The stored views of an experiment, in the format in which MLflow's UI saves its own. Pure.

Without them the UI opens traces, then a table of names and times, and draws its charts in
alphabetical order. The UI marks a view as shared, and lets users return to their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from bridge.plan.metric_names import Losses

TABLE: Final = "ftbridge"
"""Key of the view with the runs table."""
CHARTS: Final = "ftbridge-charts"
"""Key of the view with the charts."""
_TAG: Final = "mlflow.sharedViewState."

_SECTION: Final = "ftbridge-losses"
_HEIGHT: Final = 400
"""Size of a chart in pixels; two side by side fill a window of 1440 x 900."""
_COLLAPSED: Final = ("Model metrics", "System metrics")
"""Sections in which the UI itself puts all other metrics."""

_WIDTHS: Final = {
    "tags.`fine_tuning_state`": 140,
    "tags.`base_model`": 220,
    "attributes.`Dataset`": 150,
    "tags.`fine_tuned_model`": 420,
}
"""Widths of columns in pixels, where the UI's default is too narrow or too wide."""
_LETTER: Final = 8
"""Width of a letter in a column's title in pixels."""


def tag_of(key: str) -> str:
    """Return the name of the tag that stores a view."""
    return f"{_TAG}{key}"


def wanted(tags: Mapping[str, str], losses: Losses, *, only: bool = False) -> dict[str, str]:
    """Return the tags of the views that an experiment lacks.

    Several providers and configurations may write to one experiment: each adds its losses to those
    in the views.

    Args:
        tags: the experiment's tags.
        losses: the metrics to show.
        only: whether to remove other metrics from the views.
    """
    known = {} if only else tags
    columns = _joined(_metrics_of(known, TABLE), losses.columns)
    charts = _joined(_metrics_of(known, CHARTS), losses.charts)
    views = {tag_of(TABLE): _table(columns), tag_of(CHARTS): _charts(charts)}
    return {name: view for name, view in views.items() if tags.get(name) != view}


def _joined(known: Iterable[str], new: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*known, *new]))


def _table(metrics: Sequence[str]) -> str:
    columns = [
        *(f"metrics.`{name}`" for name in metrics),
        "tags.`fine_tuning_state`",
        "tags.`base_model`",
        "attributes.`Models`",
        "attributes.`Dataset`",
        # The name to call the model by. The titles of best and newest checkpoint would be cut to
        # the same letters, and not every provider names its checkpoints.
        "tags.`fine_tuned_model`",
    ]
    widths = {f"metrics.`{name}`": max(110, 40 + _LETTER * len(name)) for name in metrics}
    state = {"selectedColumns": columns, "columnOrder": columns, "columnWidths": widths | _WIDTHS}
    return _view("Fine-tuning jobs", state, metrics)


def _charts(metrics: Sequence[str]) -> str:
    """Return the view with two large charts in a row and all other metrics folded below."""
    charts = [
        {
            "uuid": f"{_SECTION}-{name}",
            "type": "LINE",
            "metricSectionId": _SECTION,
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
        for name in metrics
    ]
    losses = {"uuid": _SECTION, "name": "Losses", "display": True, "isReordered": True}
    others = [
        {"uuid": f"ftbridge-{name}", "name": name, "display": False, "isReordered": False}
        for name in _COLLAPSED
    ]
    state = {
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": [losses | {"columns": 2, "cardHeight": _HEIGHT}, *others],
        # Otherwise the UI sorts the sections by name.
        "isAccordionReordered": True,
    }
    return _view("Losses, hosted and local", state, metrics)


def _view(name: str, state: Mapping[str, object], metrics: Sequence[str]) -> str:
    # The UI ignores unknown keys: the metrics are for the next writer.
    view = {"name": name, "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)}
    return json.dumps(view | {"metrics": list(metrics)})


def _metrics_of(tags: Mapping[str, str], key: str) -> list[str]:
    """Return the metrics of a stored view; none if a user has saved another view there."""
    try:
        found = json.loads(tags.get(tag_of(key), "null"))
    except (ValueError, RecursionError):
        return []
    names = found.get("metrics") if isinstance(found, dict) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
