"""The end of OpenAI's fine-tuning: the days that OpenAI has announced.

From its page on deprecations as of November 2026. Dates in the list of models have precedence.
"""

from __future__ import annotations

from datetime import date
from typing import Final

NO_NEW_JOBS: Final = date(2027, 1, 6)
"""First day on which no jobs can be created."""
MODELS_END: Final = date(2027, 1, 14)
"""Base models that end on this day, together with the models fine-tuned from them."""
_ENDING: Final = (
    *("gpt-4o-2024-08-06", "gpt-4o-2024-11-20", "gpt-4o-mini-2024-07-18"),
    *("gpt-4.1-2025-04-14", "gpt-4.1-mini-2025-04-14"),
)
RESCUE: Final = "ftbridge backfill --rescue"


def end_of(model: str) -> date | None:
    """Return the announced last day of one of OpenAI's fine-tuned models, if any."""
    made, _, rest = model.partition(":")
    return MODELS_END if made == "ft" and rest.partition(":")[0] in _ENDING else None


def is_made_by_openai(model: str) -> bool:
    """Return whether OpenAI hosts a fine-tuned model, whatever provider lists it."""
    return model.startswith("ft:gpt-")


def notice(today: date) -> str:
    """Return a notice for users of OpenAI as of today."""
    since = "" if today >= NO_NEW_JOBS else f" from {NO_NEW_JOBS} on"
    end = "were shut down" if today >= MODELS_END else "will be shut down"
    return (
        f"OpenAI accepts no new fine-tuning jobs{since}; models made from gpt-4o, gpt-4o-mini,"
        f" gpt-4.1 and gpt-4.1-mini {end} on {MODELS_END}"
    )
