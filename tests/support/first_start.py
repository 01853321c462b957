"""First starts of ``ftbridge`` that are killed while MLflow creates its tables."""

from __future__ import annotations

import os
import signal
import sys
from itertools import count
from pathlib import Path

from sqlalchemy import Engine, event

from bridge.cli.app import main
from tests.support.processes import FORKS, PATIENCE


def killed_at_statement(number: int, *arguments: str | Path, output: Path) -> int:
    """Run ``ftbridge`` until it is about to send its database a statement; return its exit code.

    Args:
        number: Number of the statement, 1 for the first.
        arguments: Arguments of the command.
        output: File for its output.
    """
    settings = (number, [*map(str, arguments)], str(output))
    process = FORKS.Process(target=_run, args=settings)
    process.start()
    process.join(PATIENCE)
    assert process.exitcode is not None
    return process.exitcode


def _run(number: int, arguments: list[str], output: str) -> None:
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    statements = count(1)

    def executes(*_: object) -> None:
        if next(statements) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", executes)
    sys.argv = ["ftbridge", *arguments]
    main()
