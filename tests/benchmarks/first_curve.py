"""The time from a bare clone to the first curve in a browser, installation included."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from rich.table import Table

from tests.support.browser import browsing

_ROOT: Final = Path(__file__).parents[2]
_LINK: Final = re.compile(r"^  charts\s+(http\S+)$")
_LANDMARKS: Final = {
    "the packages are installed": re.compile("^Starting MLflow"),
    "the link is printed": _LINK,
}
"""Lines of ``make demo`` that say how far it is."""


def tables(say: Callable[[str], None]) -> Iterator[Table]:
    """Clone the repository, run ``make demo`` there, open its link; yield the table at the end.

    Raises:
        RuntimeError: The demo ended without a link.
    """
    table = Table(title="From a bare clone to the first curve: one run, seconds since its start")
    table.add_column("moment")
    table.add_column("s", justify="right")
    begin = time.perf_counter()

    def reached(moment: str) -> None:
        seconds = f"{time.perf_counter() - begin:.1f}"
        say(f"{seconds} s: {moment}")
        table.add_row(moment, seconds)

    with tempfile.TemporaryDirectory(prefix="bench-clone-") as folder:
        clone = ["git", "clone", "--quiet", str(_ROOT), f"{folder}/clone"]
        subprocess.run(clone, check=True)
        reached("the repository is cloned")
        demo = subprocess.Popen(
            [shutil.which("make") or "make", "--silent", "demo"],
            cwd=f"{folder}/clone",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # ends with all that it has started
        )
        try:
            _open(_link(demo, reached))
            reached("the first curve is drawn")
        finally:
            os.killpg(demo.pid, signal.SIGINT)  # make does not pass it on
            demo.wait(timeout=60)
    yield table


def _link(demo: subprocess.Popen[str], reached: Callable[[str], None]) -> str:
    left = dict(_LANDMARKS)
    said: list[str] = []
    for line in demo.stdout or ():
        said.append(line)
        for moment, pattern in [*left.items()]:
            if found := pattern.search(line):
                reached(moment)
                del left[moment]
                if pattern is _LINK:
                    return found[1]
    raise RuntimeError(f"make demo ended without a link: {''.join(said)}")


def _open(link: str) -> None:
    with browsing(width=1440, height=900) as page:
        page.goto(link)
        page.locator(".scatterlayer .trace").first.wait_for()
