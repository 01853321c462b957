"""The page of a job's run at Weights & Biases, if the provider's reply contains it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_PAGE: Final = re.compile(r"https://[a-z0-9][a-z0-9.-]*(:\d+)?(/[\w.~%-]+)+/?", re.ASCII)
"""An address without user name and query, which may contain a key."""
_NAME: Final = re.compile(r"\w[\w.-]{0,127}", re.ASCII)


def run_page(url: object) -> str | None:
    """Return the address in a reply, if it can be shown."""
    return url if isinstance(url, str) and _PAGE.fullmatch(url) else None


def integrated_run(integrations: object, job_id: str) -> str | None:
    """Return the page of the run to which a job logs.

    Args:
        integrations: the list in the job's reply. An entry contains the address, or project and
            entity of the run, whose id is then the job's.
        job_id: id of the job.
    """
    for each in integrations if isinstance(integrations, list) else ():
        if not isinstance(each, Mapping) or each.get("type") != "wandb":
            continue
        if url := run_page(each.get("url")):
            return url
        place = each.get("wandb")
        names = [place.get("entity"), place.get("project")] if isinstance(place, Mapping) else []
        # Without an entity, the run belongs to the default entity of an unknown key.
        known = [name for name in names if isinstance(name, str) and _NAME.fullmatch(name)]
        if len(known) == len(names) > 0 and _NAME.fullmatch(job_id):
            return f"https://wandb.ai/{'/'.join(known)}/runs/{job_id}"
    return None
