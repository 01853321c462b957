"""The provider's own record of a job, as files, so that it outlives the provider."""

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
"""Folder of the archive among a run's artifacts."""
LARGEST_FILE: Final = 512 * 2**20
"""Largest file that is archived, in bytes."""

MANIFEST: Final = "datasets.json"
"""Manifest of the files, written if all that were requested are archived."""
PARTIAL: Final = "datasets.partial.json"
"""Manifest of the files, written if some were not available."""
DATASETS: Final = "datasets"
"""Folder of the files below the archive's."""

Fetch = Callable[[str], AbstractContextManager[Iterator[bytes]]]
"""Opens a provider's file by id."""


@dataclass(slots=True)
class Archive:
    """Files to store, and a sentence for each that was not available."""

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
    """Yield a folder with the archive, which is removed with the context.

    Args:
        documents: contents by file name.
        files: ids of the provider's files, each of which is streamed to disk.
        fetch: opens a file.
        largest: largest file in bytes; larger ones are left out.

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
    """Store a file; return its entry of the manifest, or ``None`` if it is not available."""
    # A provider's id may be anything; the number distinguishes ids that look the same then.
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
        # Stored instead, so that a rescue does not read the file again.
        (archive.folder / DATASETS / f"{stem}.too-large").write_text(f"larger than {limit}\n")
        return None
    return {
        "file": file_id,
        "name": f"{DATASETS}/{name}",
        "bytes": size,
        "sha256": digest.hexdigest(),
    }
