"""A long history in an sqlite tracking store, created in seconds instead of hours."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_TABLES: Final = ("runs", "tags", "params", "latest_metrics")
"""Tables that a search over runs reads."""


def multiply(database: Path, job_id: str, copies: Iterable[str], *, apart: int = 0) -> None:
    """Copy the run of ``job_id`` once for each job id in ``copies``.

    Args:
        database: The tracking store's file.
        job_id: Job of the existing run.
        copies: Ids of other jobs.
        apart: Milliseconds between the start of one run and the next.
    """
    with contextlib.closing(sqlite3.connect(database)) as connection:
        (run_id,) = connection.execute(
            "SELECT run_uuid FROM tags WHERE key = 'fine_tuning_job_id' AND value = ?", (job_id,)
        ).fetchone()
        wanted = [
            (hashlib.md5(copy.encode(), usedforsecurity=False).hexdigest(), copy) for copy in copies
        ]
        for table in _TABLES:
            selection = f"SELECT * FROM {table} WHERE run_uuid = ?"  # noqa: S608 - one of those above
            rows = connection.execute(selection, (run_id,))
            template = rows.fetchall()
            places = ",".join("?" * len(rows.description))
            connection.executemany(
                f"INSERT INTO {table} VALUES ({places})",  # noqa: S608 - as above
                _copied(template, {run_id: 0, job_id: 1}, wanted),
            )
        connection.executemany(
            "UPDATE runs SET start_time = start_time + ? WHERE run_uuid = ?",
            [(apart * number, copy) for number, (copy, _) in enumerate(wanted, 1)],
        )
        # Each job makes separate models.
        connection.execute(
            "UPDATE tags SET value = value || run_uuid WHERE key LIKE 'fine_tuned_model%'"
            " AND key != 'fine_tuned_model_shutdown' AND run_uuid != ?",
            (run_id,),
        )
        connection.commit()


def _copied(
    template: list[tuple[object, ...]], old: dict[str, int], wanted: list[tuple[str, str]]
) -> Iterator[list[object]]:
    for names in wanted:
        for row in template:
            yield [_renamed(cell, old, names) for cell in row]


def _renamed(cell: object, old: dict[str, int], names: tuple[str, str]) -> object:
    if isinstance(cell, str):
        for name, place in old.items():
            cell = cell.replace(name, names[place])
    return cell
