"""Links between runs and the runs whose models they start from, in tags and notes."""

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
        """Link two runs, the second of which made the model that the first starts from.

        The child is written last, because a child with a link is not read again.
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
        """Change the links of a run, and return the run as it was."""
        run = self.run(run_id)
        known = frozenset(tags.lineage_of(run.tags).children) if run else frozenset()
        if changed(known) != known:
            self._retag(run, {tags.INTO_RUNS: ",".join(sorted(changed(known)))}, names)
        return run

    def _retag(
        self, run: RecordedRun | None, changes: Mapping[str, str], names: Mapping[str, str]
    ) -> None:
        """Change tags that the note shows, and update the note.

        Args:
            run: the current run.
            changes: the tags to set.
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
