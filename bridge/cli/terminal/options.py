"""The options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
Jobs = Annotated[
    list[str] | None,
    typer.Argument(metavar="JOB", help="Job ids, or the suffixes of jobs.", show_default=False),
]
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
