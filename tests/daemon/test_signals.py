"""SIGTERM in each phase of a pass: work in progress is finished, the rest left to the next.

Each phase of both commands: ``EVERY_BOUNDARY=1 pytest tests/daemon/test_signals.py``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle, product
from pathlib import Path

import pytest

from bridge.simulator import Reply, Request, Simulator, json_reply
from tests.support.forked import Forked, Stop
from tests.support.processes import invoke
from tests.support.recorded import recorded
from tests.support.undisturbed import TRIAL, Undisturbed
from tests.support.whole import CHILD, JOBS, everything, write_config

COMMANDS = {"run": 0, "backfill": 1}
"""Commands with their exit codes after an interruption."""
pytestmark = pytest.mark.long
ASKING: Mapping[str, tuple[str, Reply | None, set[str]]] = {
    "listing": ("/fine_tuning/jobs", None, set()),
    "reading": ("/checkpoints", None, {CHILD.id}),
    "waiting": ("/checkpoints", json_reply({"error": {"message": "Not now"}}, 503), set()),
}
"""The request in progress, its answer, and the jobs finished by then."""
WRITING = {
    "creating": "INSERT runs",
    "recording": "INSERT metrics",
    "archiving": "job.json",
    "registering": "INSERT model_versions",
    "finishing": "UPDATE runs",
}
"""The next write."""


def cases(phases: Iterable[str]) -> list[tuple[str, str]]:
    """Return each phase of each command, or else each phase with one of the commands."""
    if os.environ.get("EVERY_BOUNDARY"):
        return [*product(phases, COMMANDS)]
    return [*zip(phases, cycle(COMMANDS), strict=False)]


@dataclass(slots=True)
class Place:
    """A database, and the provider that is copied to it."""

    folder: Path
    uri: str
    """Tracking URI of the database."""
    simulator: Simulator = field(init=False)
    hook: Callable[[Request], Reply | None] = lambda _request: None
    """Hook that can answer in place of the simulator."""

    def asked(self, request: Request) -> Reply | None:
        """Return the hook's answer."""
        return self.hook(request)

    @property
    def config(self) -> Path:
        """Write a configuration with one provider, so that the writes have an order."""
        return write_config(self.folder, self.simulator, self.uri, TRIAL, kinds=("openai",))

    def forked(self, command: str, stop: Stop | None = None) -> Forked:
        """Start a command in a separate process."""
        said = self.folder / "said"
        return Forked(command, "--config", self.config, output=said, stop=stop)


@pytest.fixture
def place(tmp_path: Path, uri: str) -> Iterator[Place]:
    """Return an empty database, beside a provider whose jobs ended long ago."""
    found = Place(tmp_path, uri)
    with Simulator(jobs=JOBS, intercept=found.asked) as found.simulator:
        yield found


def finished(place: Place) -> set[str]:
    """Return the jobs whose runs are marked as complete."""
    found = recorded(place.uri, f"{TRIAL}-openai")
    return {job_id for job_id, run in found.items() if run.status == "FINISHED"}


def assert_in_order(
    place: Place, undisturbed: Undisturbed, process: Forked, wanted: set[str]
) -> None:
    """Check that every job marked as complete is, and that the next pass completes the rest."""
    found = everything(place.uri, TRIAL)
    done = finished(place)
    for job_id in done:
        for part in ("datasets", "artifacts", "models", "versions"):
            assert found[job_id][part] == undisturbed.whole[job_id][part]
    again = invoke("backfill", "--config", place.config)
    assert again.exit_code == 0, again.output
    assert everything(place.uri, TRIAL) == undisturbed.whole
    if "stopped early" in process.said:
        pytest.skip("this machine took longer than the time that is left for the job in hand")
    assert done == wanted


def assert_ended_well(process: Forked, command: str) -> None:
    """Check that the command reports the interruption and ends with its exit code."""
    assert process.end() == COMMANDS[command], process.said
    assert "Traceback" not in process.said
    assert ("stopping" if command == "run" else "Interrupted") in process.said


@pytest.mark.parametrize(("phase", "command"), cases(ASKING))
def test_while_the_provider_is_asked(
    place: Place, undisturbed: Undisturbed, phase: str, command: str
) -> None:
    """A signal during a provider's request lets this job finish, and no other begins."""
    path, reply, done = ASKING[phase]
    asked: list[str] = []

    def hook(request: Request) -> Reply | None:
        if request.path.endswith(path) and not asked:
            asked.append(request.path)
            process.stop()
            return reply
        return None

    process = place.forked(command)
    place.hook = hook
    with process:
        assert_ended_well(process, command)
    assert_in_order(place, undisturbed, process, done)


@pytest.mark.parametrize(("phase", "command"), cases(WRITING))
def test_while_mlflow_is_written_to(
    place: Place, undisturbed: Undisturbed, phase: str, command: str
) -> None:
    """A signal during a write to MLflow lets this job finish, and no other begins."""
    at = undisturbed.before(WRITING[phase])
    with place.forked(command, Stop(at, signal.SIGTERM)) as process:
        assert_ended_well(process, command)
    assert_in_order(place, undisturbed, process, {CHILD.id})


def test_between_two_passes(place: Place, undisturbed: Undisturbed) -> None:
    """A signal between two passes finds nothing in progress and leaves nothing to do."""
    with place.forked("run") as process:
        process.wait_for_write(list(undisturbed.writes)[-1])
        process.stop()
        assert_ended_well(process, "run")
    assert everything(place.uri, TRIAL) == undisturbed.whole
