"""The demo as a person sees it, in a real browser."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import Started, started

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
NAMES = ("openai/support-bot", "mistral/changelog-writer", "local/next-character")
RELOADS = 20
PATIENCE = 120_000
"""Milliseconds."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here"),
]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Started]:
    """A running demo that has told its links."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path / "temporary"
    folder.mkdir()
    with started("demo", "--port", str(port), env={"TMPDIR": str(folder)}) as process:
        process.wait_for("Ctrl-C stops everything")
        yield process


def link(said: str, name: str) -> str:
    """The link that the demo prints under a name."""
    found = re.search(rf"^\s*{name}\s+(http\S+)$", said, re.MULTILINE)
    assert found, said
    return found[1]


def drawn(chart: Locator) -> dict[str, int]:
    """The lines of a chart: run names with the number of their points."""
    plot = chart.locator(".js-plotly-plot")
    found = plot.evaluate("plot => plot.data.map(line => [line.name, line.x.length])")
    return {str(name): int(points) for name, points in found}


def seen(page: Page, what: Locator) -> None:
    """Wait for ``what``; a run that begins after the page was loaded shows when it is reloaded."""
    for _ in range(RELOADS):
        with contextlib.suppress(sync_api.TimeoutError):
            what.wait_for(timeout=8_000)
            return
        page.reload()
    what.wait_for()


def test_a_newcomer_sees_hosted_beside_local(demo: Started, tmp_path: Path) -> None:
    """The printed links show both providers' and the local run, and their losses in one chart."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(PATIENCE)

        page.goto(link(demo.said, "table"))
        for name in NAMES:
            seen(page, page.get_by_text(name, exact=True).first)
        page.screenshot(path=tmp_path / "table.png")

        page.goto(link(demo.said, "charts"))
        page.reload()  # the address differs behind the # alone
        title = page.get_by_text("loss", exact=True).first
        chart = page.get_by_test_id("experiment-view-compare-runs-card").filter(has=title)
        for _ in range(RELOADS):
            seen(page, chart.locator(".scatterlayer .trace").first)
            lines = drawn(chart)
            if all(lines.get(name, 0) > 1 for name in NAMES):
                break
            page.wait_for_timeout(3_000)
            page.reload()
        page.screenshot(path=tmp_path / "charts.png")
        browser.close()

    assert all(lines.get(name, 0) > 1 for name in NAMES), lines
    demo.send(signal.SIGINT)
    assert demo.end() == 0, demo.said
    assert "Traceback" not in demo.said
    assert list((tmp_path / "temporary").iterdir()) == []
