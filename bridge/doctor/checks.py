"""Find what is wrong with one provider's runs, models and versions, reading MLflow only.

Each finding contains its repair, which the caller may call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Final, TypeVar

from bridge.model import JobStatus
from bridge.plan import tags
from bridge.plan.ownership import Fate, Ownership, resolve
from bridge.plan.recorded import RecordedRun
from bridge.plan.repair import farewell
from bridge.tracking import Tracking, Written
from bridge.tracking.audit import MadeModel, MadeVersion
from bridge.tracking.registry import ALIAS

GIVE_UP: Final = "delete the unfinished one"
"""Remedy for a run if another run of the job has everything."""

_Made = TypeVar("_Made", MadeModel, MadeVersion)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A defect that passes do not repair."""

    job_id: str
    run_id: str
    link: str
    """Link to it."""
    what: str
    remedy: str
    """Remedy; without a ``repair``, the user has to apply it."""
    repair: Callable[[], None] | None = field(default=None, compare=False)
    """The function that ``--fix`` calls."""
    name: str = ""
    """Id of the run's job, if known."""
    is_compared: bool = False
    """Whether it results from the comparison with the provider, which repairs it."""
    is_note: bool = False
    """Whether nothing is damaged and the next pass repairs it."""
    is_withheld: bool = False
    """Whether it is a part that the provider does not return."""

    @property
    def by_hand(self) -> bool:
        """Whether only the user can repair it."""
        return self.repair is None and not self.is_compared


@dataclass(slots=True, kw_only=True)
class Checks:
    """The checks of one provider, with a memory of the ids of known runs."""

    tracking: Tracking
    provider: str
    experiment_ids: Sequence[str]
    job_ids: tuple[str, ...] = ()
    """Ids of the jobs to check; empty: all."""
    _active: dict[str, bool] = field(default_factory=dict)
    """Whether a run exists and is not in the trash, by run id."""
    _owners: Ownership | None = None

    def owners(self, *, again: bool = False) -> Ownership:
        """Return the owners of the jobs, which are read once, or ``again`` after a repair."""
        if again or self._owners is None:  # the runs of a long history take long to read
            self._owners = resolve(self._seen())
        return self._owners

    def runs(self) -> Iterator[Finding]:
        """Yield a finding for each surplus run of a job."""
        owned = self.owners()
        for duplicate in owned.duplicates:
            run = self.tracking.run(duplicate.run_id)
            if run is None or duplicate.fate is Fate.WAITS:
                continue
            goes = duplicate.fate is Fate.GOES
            yield Finding(
                job_id=run.job_id,
                run_id=run.run_id,
                name=run.name,
                link=self.tracking.link(run.experiment_id, run.run_id),
                what=f"{self._place(run)} duplicates run {duplicate.owner} of the same job",
                remedy="delete it" if goes else "delete the one that you do not want",
                repair=partial(self.tracking.delete, [run.run_id]) if goes else None,
            )
        waiting = (each for each in owned.duplicates if each.fate is Fate.WAITS)
        for job_id, finished in {each.job_id: each.run_id for each in waiting}.items():
            run = owned.open[job_id]
            yield Finding(
                job_id=job_id,
                run_id=run.run_id,
                name=run.name,
                link=self.tracking.link(run.experiment_id, run.run_id),
                what=f"it is {run.status} although run {finished} has everything of its job",
                remedy=GIVE_UP,
                repair=partial(self._give_up, run.run_id),
            )

    def _give_up(self, run_id: str) -> None:
        """Delete a run, unless it has everything by now: then the next pass deletes the other."""
        run = self.tracking.run(run_id)
        if run is not None and not run.is_final:
            self.tracking.delete([run_id])

    def _place(self, run: RecordedRun) -> str:
        whose = "a run" if run.is_ours else "a run that the bridge did not create"
        return f"{whose} in {self.tracking.experiment_name(run.experiment_id)}"

    def stranded(self, statuses: Mapping[str, JobStatus]) -> Iterator[Finding]:
        """Yield a finding for each open run whose provider has ended its service.

        Args:
            statuses: the meanings of the provider's words.
        """
        for run in self._seen(only_open=True):
            if run.is_deleted or run.is_final:
                continue
            plan = farewell(run, statuses.get(run.tags.get(tags.STATUS, "")))
            yield Finding(
                job_id=run.job_id,
                run_id=run.run_id,
                name=run.name,
                link=self.tracking.link(run.experiment_id, run.run_id),
                what=f"it is {run.status} although its provider has ended the service",
                remedy=f"set {plan.status}",
                repair=partial(self.tracking.finish, Written(run), plan),
            )

    def models(self) -> Iterator[Finding]:
        """Yield findings about models that have lost their run or exist twice."""
        for run_id, found in groupby(self._models(), key=attrgetter("run_id")):
            is_active = self._is_active(run_id)
            models = sorted(found, key=attrgetter("model", "age"))
            for first, *doubles in _groups(models, "model"):
                for model in doubles if is_active else [first, *doubles]:
                    which = "is there twice" if is_active else "has lost its run"
                    yield Finding(
                        job_id=model.job_id,
                        run_id=run_id,
                        link=self.tracking.link(
                            model.experiment_id, page=f"models/{model.model_id}"
                        ),
                        what=f"model {model.model} {which}",
                        remedy="delete the LoggedModel",
                        repair=partial(self.tracking.delete_model, model.model_id),
                    )

    def versions(self) -> Iterator[Finding]:
        """Yield findings about surplus versions, and about wrong aliases."""
        for name, found in groupby(self._versions(), key=attrgetter("name")):
            versions = sorted(found, key=attrgetter("run_id", "number"))
            lost = list(self._lost_versions(versions))
            yield from lost
            at, newest = self.tracking.alias(name)
            # Deleting a lost version also moves its alias.
            if at == newest or any(finding.repair for finding in lost):
                continue
            for version in versions:
                if version.number == newest:
                    yield self._of_version(
                        version,
                        f"the alias {ALIAS} of {name} is at {f'version {at}' if at else 'none'}",
                        f"move it to version {newest}, whose job ended last",
                        partial(self.tracking.move_alias, name),
                    )

    def _lost_versions(self, versions: list[MadeVersion]) -> Iterator[Finding]:
        for first, *doubles in _groups(versions, "run_id"):
            is_active = self._is_active(first.run_id)
            for version in doubles if is_active else [first, *doubles]:
                which = "is there twice" if is_active else "has lost its run"
                aliases = self.tracking.users_aliases(version)
                yield self._of_version(
                    version,
                    f"version {version.number} of {version.name} {which}",
                    # Someone may call the model by this alias.
                    f"move the alias {', '.join(aliases)} first" if aliases else "delete it",
                    None if aliases else partial(self.tracking.delete_version, version),
                )

    def _of_version(
        self, version: MadeVersion, what: str, remedy: str, repair: Callable[[], None] | None
    ) -> Finding:
        return Finding(
            job_id=version.job_id,
            run_id=version.run_id,
            link=self.tracking.registry_link(version.name, version.number),
            what=what,
            remedy=remedy,
            repair=repair,
        )

    # MLflow's side

    def _seen(self, *, only_open: bool = False) -> Iterator[RecordedRun]:
        for job_id in self._job_ids:
            for run in self.tracking.runs(
                self.experiment_ids, self.provider, job_id=job_id, only_open=only_open
            ):
                self._active[run.run_id] = not run.is_deleted
                yield run

    def _models(self) -> Iterator[MadeModel]:
        for job_id in self._job_ids:
            yield from self.tracking.made_models(self.experiment_ids, self.provider, job_id)

    def _versions(self) -> Iterator[MadeVersion]:
        for job_id in self._job_ids:
            yield from self.tracking.made_versions(self.provider, job_id)

    @property
    def _job_ids(self) -> tuple[str | None, ...]:
        return self.job_ids or (None,)

    def _is_active(self, run_id: str) -> bool:
        if run_id not in self._active:
            run = self.tracking.run(run_id) if run_id else None
            self._active[run_id] = run is not None and not run.is_deleted
        return self._active[run_id]


def _groups(made: Iterable[_Made], attribute: str) -> Iterator[list[_Made]]:
    """Yield groups with the same attribute, from a list sorted by it."""
    for _, same in groupby(made, key=attrgetter(attribute)):
        yield list(same)
