"""A job's record as its provider gave it, laid out as files, so that it survives the provider."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bridge import errors

ARTIFACT_PATH: Final = "provider"
"""The folder among a run's artifacts."""
LARGEST_FILE: Final = 512 * 2**20
"""Bytes of a dataset that is archived."""

MANIFEST: Final = "datasets.json"
"""Names the files beside it, written where all that were asked for are there."""
PARTIAL: Final = "datasets.partial.json"
"""The same where some could not be had."""
DATASETS: Final = "datasets"
"""The folder below it with those files."""

Fetch = Callable[[str], AbstractContextManager[Iterator[bytes]]]
"""Opens a provider's file by its id."""


@dataclass(slots=True)
class Archive:
    """Files to store, and a sentence for each that could not be had."""

    folder: Path
    missing: list[str] = field(default_factory=list)


@contextlib.contextmanager
def laid_out(
    documents: Mapping[str, bytes],
    files: Sequence[str],
    fetch: Fetch,
    *,
    largest: int = LARGEST_FILE,
) -> Iterator[Archive]:
    """A folder with everything, which is gone at the end.

    Args:
        documents: contents by file name.
        files: ids of the provider's files; each is written as it comes, never held as a whole.
        fetch: opens one of them.
        largest: bytes of a file; larger ones are left out.

    Raises:
        ProviderError: a file could not be read now, but perhaps later.
    """
    with tempfile.TemporaryDirectory(prefix="ftbridge-archive-") as path:
        archive = Archive(Path(path))
        for name, content in documents.items():
            (archive.folder / name).write_bytes(content)
        if files:
            (archive.folder / DATASETS).mkdir()
            manifest = [
                entry
                for number, file_id in enumerate(files, start=1)
                if (entry := _stored(archive, number, file_id, fetch, largest))
            ]
            text = json.dumps(manifest, indent=2)
            name = PARTIAL if archive.missing else MANIFEST
            (archive.folder / name).write_text(text + "\n", encoding="utf-8")
        yield archive


def _stored(
    archive: Archive, number: int, file_id: str, fetch: Fetch, largest: int
) -> dict[str, object] | None:
    """The manifest's entry of a file that is stored now; ``None`` where it cannot be had."""
    # A provider's id may be anything; the number keeps two apart that look the same then.
    stem = f"{number}-{re.sub(r'[^A-Za-z0-9_-]+', '-', file_id)[:100]}"
    name = f"{stem}.jsonl"
    target = archive.folder / DATASETS / name
    digest, size = hashlib.sha256(), 0
    try:
        with fetch(file_id) as chunks, target.open("wb") as output:
            for chunk in chunks:
                size += len(chunk)
                if size > largest:
                    break
                digest.update(chunk)
                output.write(chunk)
    except (errors.NotFound, errors.Forbidden, errors.Refused, errors.Withdrawn) as error:
        archive.missing.append(f"file {file_id} is not archived: {error.sentence}")
        target.unlink(missing_ok=True)
        return None
    if size > largest:
        target.unlink()
        limit = f"{largest / 2**20:,.0f} MiB"
        archive.missing.append(f"file {file_id} is not archived: it is larger than {limit}")
        # In its place, so that a rescue does not read as much of it again.
        (archive.folder / DATASETS / f"{stem}.too-large").write_text(f"larger than {limit}\n")
        return None
    return {
        "file": file_id,
        "name": f"{DATASETS}/{name}",
        "bytes": size,
        "sha256": digest.hexdigest(),
    }
