"""The options and arguments of the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Configuration. Default: $FTBRIDGE_CONFIG, else config/bridge.yaml, else the keys in"
        " the environment.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Log every decision: what is skipped, and why.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print problems only.")]
Providers = Annotated[
    list[str] | None,
    typer.Option("--provider", "-p", metavar="NAME", help="Only this provider; repeatable."),
]
Jobs = Annotated[list[str] | None, typer.Argument(metavar="JOB", hidden=True)]
JobIds = Annotated[
    list[str] | None, typer.Option("--job", metavar="ID", help="Only this job id; repeatable.")
]
Experiment = Annotated[
    str | None,
    typer.Option(
        "--experiment",
        metavar="NAME",
        help="MLflow experiment of the runs; overrides mlflow.experiment.",
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        metavar="URI",
        help="MLflow server or database; overrides mlflow.tracking_uri.",
    ),
]
MetricNames = Annotated[
    str | None,
    typer.Option(
        "--metric-names",
        metavar="PRESET",
        help="Metric names: auto, provider, huggingface, lightning or torchtune.",
    ),
]
Since = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="Only jobs created since: 2026-01-31, 30d, 2w, yesterday."),
]
Until = Annotated[str | None, typer.Option(metavar="WHEN", help="Only jobs created before.")]
Statuses = Annotated[
    list[str] | None,
    typer.Option(
        metavar="STATUS",
        help="Only jobs that are running, succeeded, failed, cancelled, queued, ...; repeatable.",
    ),
]
NewestOfEach = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Only the newest N jobs of each provider.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Print what would be written; write nothing.")
]
Rename = Annotated[
    bool,
    typer.Option("--rename", help="Apply a change of mlflow.metric_names to the runs in MLflow."),
]
Rescue = Annotated[
    bool,
    typer.Option(
        "--rescue",
        help="Archive all that the providers still have, training files included; print a summary.",
    ),
]
Fix = Annotated[
    bool, typer.Option("--fix", help="Repair what is found. Without --fix, nothing is written.")
]
Once = Annotated[
    bool, typer.Option("--once", help="Run the simulated jobs to their end, then exit.")
]
AllTypes = Annotated[
    bool,
    typer.Option("--all", help="Show every provider type, not only the two that share a chart."),
]
DemoPort = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=65535,
        metavar="PORT",
        help="Port of the MLflow UI. Default: 5000, or any free port if that is taken.",
    ),
]
UiPort = Annotated[
    int,
    typer.Option(
        min=1, max=65535, metavar="PORT", help="Port of MLflow's UI, if it has to be started."
    ),
]
ApiPort = Annotated[
    int,
    typer.Option(min=0, max=65535, metavar="PORT", help="Port on 127.0.0.1; 0 picks a free one."),
]
LogFormat = Annotated[
    Literal["text", "json"],
    typer.Option(
        "--log-format", envvar="FTBRIDGE_LOG_FORMAT", help="Text, or one JSON object per line."
    ),
]
Name = Annotated[str | None, typer.Argument(metavar="NAME", hidden=True)]
Job = Annotated[str, typer.Argument(metavar="JOB", hidden=True)]
ListedStatuses = Annotated[
    list[str] | None,
    typer.Option(metavar="STATUS", help="Only jobs with this status; repeatable."),
]
Newest = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="Only the newest N jobs.")]
Browser = Annotated[
    bool, typer.Option("--browser/--no-browser", help="Whether to open the browser.")
]
Watch = Annotated[
    bool, typer.Option("--watch", "-w", help="Show the jobs live in the terminal, until Ctrl-C.")
]
Target = Annotated[Path, typer.Argument(metavar="FILE", hidden=True)]
Schema = Annotated[
    bool,
    typer.Option("--schema", help="Print the JSON Schema of a configuration instead, for editors."),
]
