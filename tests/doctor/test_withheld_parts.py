"""Parts that a provider does not return: ``doctor`` lists them until they are available."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from bridge.simulator import Simulator
from bridge.simulator.messages import Reply, Request, json_reply
from tests.doctor.test_doctor import ENDED, JOB, Place, Provided
from tests.support.processes import dump
from tests.support.world import KEY, Clock, job

EVENTS = ("/events", "/content")


@dataclass(slots=True)
class Refusing(Provided):
    """A simulated provider that refuses parts."""

    status: int = 0
    endings: tuple[str, ...] = EVENTS
    asked: list[str] = field(default_factory=list)

    def intercept(self, request: Request) -> Reply | None:
        """Return a refusal of a part."""
        if not self.status or not request.path.endswith(self.endings):
            return None
        return json_reply({"error": {"message": "not for you"}}, self.status)


@pytest.fixture
def place(uri: str, clock: Clock) -> Iterator[Place]:
    """Return an empty store, beside a provider of one job that has ended."""
    found = Refusing(clock)
    with Simulator(jobs=[job(JOB)], clock=clock, intercept=found.intercept) as simulator:
        found.simulator = simulator
        clock.now += ENDED
        yield Place(uri, found)


def refuse(place: Place, status: int) -> None:
    """Refuse the parts, or give them again with 0."""
    assert isinstance(place.provided, Refusing)
    place.provided.status = status


def test_a_part_that_is_not_given_is_listed_until_it_comes(place: Place) -> None:
    """A refused part is listed with exit code 0, and is recorded once the provider returns it."""
    refuse(place, 404)
    place.backfill()
    before = dump(place.database)
    found = place.doctor("--fix")
    assert found.code == 0
    assert len(found.findings) == 2
    for finding, part in zip(found.findings, ("events", "result file"), strict=True):
        assert finding["what"].startswith(f"its {part} cannot be read: ")
        assert finding["remedy"] == f"if the provider returns it: ftbridge doctor --fix --job {JOB}"
        assert (finding["withheld"], finding["note"], finding["fixed"]) == (True, False, False)
    assert dump(place.database) == before
    code, said = place.call("doctor")
    assert code == 0
    assert f"  if the provider returns it: ftbridge doctor --fix --job {JOB}" in said
    assert "to do by hand" not in said
    assert "Nothing was written" not in said
    (last,) = said.splitlines()[-1:]
    assert last == "openai: 1 job compared, no findings, 2 parts that cannot be read"
    refuse(place, 0)
    done = place.doctor("--fix")
    (finding,) = done.findings
    assert finding["what"].startswith("lacks ")
    assert (finding["withheld"], finding["fixed"], done.code) == (False, True, 0)
    assert (place.doctor().code, place.doctor().findings) == (0, [])


def test_a_run_that_had_everything_still_has_it(place: Place) -> None:
    """A part that a provider no longer returns is listed apart from the findings."""
    place.backfill()
    before = dump(place.database)
    refuse(place, 404)
    found = place.doctor("--fix")
    assert (found.code, found.findings) == (0, [])
    assert "its events cannot be read" in str(found.chart["left_out"])
    assert dump(place.database) == before


def test_many_parts_are_listed_in_part(uri: str, clock: Clock) -> None:
    """People see ten of the parts that a server lacks for all jobs; JSON has all."""
    found = Refusing(clock, status=404)
    jobs = [job(f"ftjob-{n:02}") for n in range(6)]
    with Simulator(jobs=jobs, clock=clock, intercept=found.intercept) as simulator:
        found.simulator = simulator
        clock.now += ENDED
        place = Place(uri, found)
        place.backfill()
        _, said = place.call("doctor")
        assert said.count("if the provider returns it: ") == 10
        assert "· 2 more parts cannot be read: see --json" in said
        assert len(place.doctor().findings) == 12


def test_curves_that_may_not_be_listed_are_found(
    uri: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Bedrock job with unreadable files is listed with the missing permissions."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    found = Refusing(clock, status=403, endings=("/",))
    jobs = [job(JOB, "bedrock")]
    with Simulator(jobs=jobs, clock=clock, intercept=found.intercept) as simulator:
        found.simulator = simulator
        clock.now += ENDED
        place = Place(uri, found, kinds=("bedrock",))
        place.backfill()
        reported = place.doctor()
    (finding,) = reported.findings
    assert reported.code == 0
    assert finding["what"].startswith("its metrics file cannot be read: s3://")
    assert "s3:ListBucket" in finding["what"]
