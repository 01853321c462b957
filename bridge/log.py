"""Log lines on stderr: one event for each outcome, with its facts as fields."""

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
        as_json: whether each line is a JSON object for programs rather than text for people.
        verbose: whether decisions and retries are logged in addition to outcomes.
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
        # Looked up for each line: a progress bar replaces stderr while it is visible.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # If a library added a handler for these, it would log replies unmasked.
    for name in ("httpcore", "httpx", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # The bridge's own error explains credentials that cannot be renewed.
    logging.getLogger("botocore.credentials").setLevel(logging.CRITICAL)
    # The daemon reports late and overlapping passes itself.
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)


def _json(event: MutableMapping[str, Any], **options: Any) -> str:  # noqa: ANN401 - json's own
    """Render an event with time, level and name first, as in the lines for people."""
    first = {name: event.pop(name) for name in ("timestamp", "level", "event")}
    return json.dumps(first | dict(event), **options)
