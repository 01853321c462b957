"""The options and arguments of the commands, by the names that the commands give them."""

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
        help="YAML file; else $FTBRIDGE_CONFIG, else config/bridge.yaml, else the environment.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
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
        help="Experiment of the runs, instead of mlflow.experiment.",
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        metavar="URI",
        help="MLflow's server or database, instead of mlflow.tracking_uri.",
    ),
]
MetricNames = Annotated[
    str | None,
    typer.Option(
        "--metric-names",
        metavar="PRESET",
        help="auto, provider, huggingface, lightning or torchtune.",
    ),
]
Since = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="Created at or after: 2026-01-31, 30d, 2w, yesterday."),
]
Until = Annotated[str | None, typer.Option(metavar="WHEN", help="Created before.")]
Statuses = Annotated[
    list[str] | None,
    typer.Option(
        metavar="STATUS",
        help="Only running, succeeded, failed, cancelled, queued, ... jobs; repeatable.",
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
    typer.Option(
        "--rename", help="Give the runs that are logged the names of mlflow.metric_names."
    ),
]
Rescue = Annotated[
    bool,
    typer.Option(
        "--rescue",
        help="Archive everything, with datasets, also of jobs copied before; print a summary.",
    ),
]
Fix = Annotated[
    bool, typer.Option("--fix", help="Correct what it finds; without it nothing is written.")
]
Once = Annotated[
    bool, typer.Option("--once", help="Run the simulated jobs to their end, then exit.")
]
AllTypes = Annotated[
    bool,
    typer.Option("--all", help="Show every type of provider, not only two that fit one chart."),
]
DemoPort = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=65535,
        metavar="PORT",
        help="Port of the MLflow UI; else 5000, or any if that is taken.",
    ),
]
UiPort = Annotated[
    int, typer.Option(min=1, max=65535, metavar="PORT", help="Port of the UI, if one is started.")
]
ApiPort = Annotated[
    int,
    typer.Option(min=0, max=65535, metavar="PORT", help="Port on 127.0.0.1; 0 takes any free one."),
]
LogFormat = Annotated[
    Literal["text", "json"],
    typer.Option(
        "--log-format", envvar="FTBRIDGE_LOG_FORMAT", help="One JSON object a line, or text."
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
    bool, typer.Option("--watch", "-w", help="On a terminal: the jobs live, until Ctrl-C.")
]
Target = Annotated[Path, typer.Argument(metavar="FILE", hidden=True)]
Schema = Annotated[
    bool, typer.Option("--schema", help="Print the JSON Schema instead, for an editor.")
]
