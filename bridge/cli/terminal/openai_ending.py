"""The end of OpenAI's fine-tuning, and the jobs that would lose data."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

from bridge.errors import ArchiveFailed
from bridge.plan.recorded import RecordedRun
from bridge.sync import archive
from bridge.text import number_of
from bridge.tracking import Tracking

_AT_ONCE: Final = 8
"""Number of simultaneous requests to the artifact store."""


@dataclass(frozen=True, slots=True)
class Safety:
    """The archives of jobs that have ended."""

    jobs: int = 0
    unarchived: int = 0
    """Jobs without an archive."""
    without_files: int = 0
    """Jobs whose training files were never requested."""
    unavailable: int = 0
    """Jobs with files that were not available."""
    problem: str | None = None
    """Reason why the archives cannot be counted."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to archive."""
        return self.problem is None and self.jobs > 0 and not self.unarchived + self.without_files

    @property
    def sentence(self) -> str:
        """Sentence about what is archived, and what is not yet."""
        if self.problem:
            return f"what is archived cannot be seen: {self.problem}"
        if not self.jobs:
            return "no ended job is archived yet"
        if self.is_whole and self.jobs == 1:
            return "the one ended job is archived with its training files"
        if self.is_whole:
            some = f", except for unavailable files of {self.unavailable:,}"
            all_of_them = f"all {self.jobs:,} ended jobs are archived with their training files"
            return f"{all_of_them}{some if self.unavailable else ''}"
        lacking = [
            f"{count:,} {'is' if count == 1 else 'are'} {what}"
            for count, what in (
                (self.unarchived, "not archived yet"),
                (self.without_files, "archived without training files"),
            )
            if count
        ]
        return f"{number_of(self.jobs, 'ended job')}: {', '.join(lacking)}"

    def document(self) -> dict[str, object]:
        """Return the counts for a JSON document."""
        if self.problem:
            return {"problem": self.problem}
        return {
            "ended": self.jobs,
            "without_archive": self.unarchived,
            "without_files": self.without_files,
            "files_unavailable": self.unavailable,
        }


def safety_of(tracking: Tracking, runs: Iterable[RecordedRun]) -> Safety:
    """Return the state of these runs' archives; each costs a request to the artifact store."""
    ended = [run for run in runs if run.is_final and not run.is_deleted]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        look = partial(tracking.archived_names, folder=archive.ARTIFACT_PATH)
        try:
            found = list(pool.map(look, ended))
        except ArchiveFailed as error:
            # A user who may read MLflow may have no access to its artifact store.
            return Safety(problem=f"{error.sentence}. {error.remedy}")
    manifests = {archive.MANIFEST, archive.PARTIAL}
    return Safety(
        jobs=len(ended),
        unarchived=sum(not names for names in found),
        without_files=sum(bool(names) and names.isdisjoint(manifests) for names in found),
        unavailable=sum(names & manifests == {archive.PARTIAL} for names in found),
    )
