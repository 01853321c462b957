"""Moments as providers write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def iso(seconds: float, timespec: str = "milliseconds") -> str:
    """Return Unix seconds as most providers write them."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{moment.replace(tzinfo=None).isoformat(timespec=timespec)}Z"


def time(seconds: float) -> str:
    """Return Unix seconds as Google writes them."""
    return iso(seconds, "microseconds")
