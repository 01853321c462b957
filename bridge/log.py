"""Log lines on stderr: one event per outcome, its facts as fields."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from bridge.redaction import Redactor


def set_up(redactor: Redactor, *, as_json: bool = False, verbose: bool = False) -> None:
    """Send structured events to stderr, without secrets and control characters.

    Args:
        redactor: masks secrets.
        as_json: whether each line is a JSON object, for programs, and not for people.
        verbose: whether decisions and retries are logged too, and not only what came of them.
    """

    def tame(
        _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        for key, value in event.items():
            if isinstance(value, str):
                event[key] = redactor.line(value, 600)
        return event

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%SZ", utc=True),
            tame,
            structlog.processors.JSONRenderer(_json)
            if as_json
            else structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), pad_event_to=0, sort_keys=False
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.DEBUG if verbose else logging.INFO
        ),
        # Looked up at each line: a progress bar puts itself in front of stderr while it shows.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # Were any library to send these to a handler, they would show replies as they came.
    for name in ("httpcore", "httpx", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # An error has a sentence on credentials that cannot be renewed.
    logging.getLogger("botocore.credentials").setLevel(logging.CRITICAL)
    # The daemon reports late and overlapping passes itself.
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)


def _json(event: MutableMapping[str, Any], **options: Any) -> str:  # noqa: ANN401 - json's own
    """When, how bad and what come first, as in the lines for people."""
    first = {name: event.pop(name) for name in ("timestamp", "level", "event")}
    return json.dumps(first | dict(event), **options)
