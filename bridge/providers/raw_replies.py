"""A provider's replies as files, with the data that the bridge does not record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from bridge.providers.credentials import published

Documents = dict[str, bytes]
"""Contents by file name."""
# Created once, because json.dumps would create one for each row.
_READABLE: Final = json.JSONEncoder(ensure_ascii=False, indent=2).encode
_LINE: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def documents(job: Mapping[str, object], skipped: list[str], **lists: object) -> Documents:
    """Return ``job.json``, and ``<name>.jsonl`` with a line for each row of a nonempty list.

    Credentials are masked, and rows of training data left out. ``skipped`` receives a sentence for
    each reply that cannot be written.
    """
    files = {"job.json": [job]}
    files |= {f"{name}.jsonl": rows for name, rows in lists.items() if isinstance(rows, list)}
    kept: Documents = {}
    for name, rows in files.items():
        text_of = _READABLE if name == "job.json" else _LINE
        try:
            text = "".join(f"{text_of(published(row))}\n" for row in rows)
        except RecursionError:
            skipped.append(f"{name} cannot be kept: it is nested too deep")
        else:
            if text:
                # Half a surrogate pair becomes its JSON escape.
                kept[name] = text.encode("utf-8", "backslashreplace")
    return kept
