"""Runs that start from what other runs made: their tags and notes point at each other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from bridge import errors
from bridge.plan import tags
from bridge.plan.description.lineage import with_lineage
from bridge.plan.recorded import RecordedRun
from bridge.tracking.audit import Audit


class Relations(Audit):
    """Links runs with the runs before and after them."""

    def relate(self, child: str, parent: str) -> None:
        """Let two runs point at each other: the second made what the first one starts from.

        The child comes last: one that points at its parent is not looked at again.
        """
        names = {run.run_id: run.name for run in (self.run(child),) if run}
        if maker := self.change_children(parent, lambda known: known | {child}, names):
            names[parent] = maker.name
        self._retag(self.run(child), {tags.FROM_RUN: parent}, names)

    def change_children(
        self,
        run_id: str,
        changed: Callable[[frozenset[str]], frozenset[str]],
        names: Mapping[str, str],
    ) -> RecordedRun | None:
        """Change the runs that a run is linked with, and return it as it was."""
        run = self.run(run_id)
        known = frozenset(tags.lineage_of(run.tags).children) if run else frozenset()
        if changed(known) != known:
            self._retag(run, {tags.INTO_RUNS: ",".join(sorted(changed(known)))}, names)
        return run

    def _retag(
        self, run: RecordedRun | None, changes: Mapping[str, str], names: Mapping[str, str]
    ) -> None:
        """Change tags that the note shows, and the note with them.

        Args:
            run: as it is now.
            changes: the tags.
            names: the names of runs that the note links.
        """
        from mlflow.entities import RunTag

        if run is None or run.is_deleted:
            return
        known = {**run.tags, **changes}
        wanted = dict(changes)
        if text := known.get(tags.NOTE):
            wanted |= tags.note_tags(with_lineage(text, tags.lineage_of(known, names)), known)
        with contextlib.suppress(errors.RunChanged), self.asked(one_job=True) as client:
            client.log_batch(
                run.run_id, tags=[RunTag(name, value) for name, value in wanted.items()]
            )
