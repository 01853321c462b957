"""A long history in an sqlite tracking store, without the hours that recording it would take."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_TABLES: Final = ("runs", "tags", "params", "latest_metrics")
"""What a search over runs reads."""


def multiply(database: Path, job_id: str, copies: Iterable[str], *, apart: int = 0) -> None:
    """For each of ``copies`` a run as the one of ``job_id`` is, but of a job of that id.

    Args:
        database: of the tracking store.
        job_id: whose run there is.
        copies: ids of other jobs.
        apart: how much later each one starts than the one before, milliseconds.
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
        # Each makes models of its own.
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
