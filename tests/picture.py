"""Takes the README's pictures (``make picture``) in Chromium while the demo runs."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.browser import browsing

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOLDER = Path(__file__).parents[1] / ".github"
LIVE = 50
"""Seconds until the hosted jobs have trained for a while and still do."""
ENDED = 70
"""Further seconds until they have all ended."""
SETTLED = 3_000
"""Milliseconds until a page has drawn everything."""


def go(page: Page, url: str, landmark: str) -> None:
    """Open ``url`` without MLflow's assistant; return once ``landmark`` is in sight."""
    page.goto("about:blank")  # the addresses differ only after the #
    page.goto(url)
    page.get_by_text(re.compile(rf"^{landmark}(-\w{{6}})?$")).first.wait_for()
    page.wait_for_timeout(SETTLED)
    assistant = page.get_by_role("button", name="Close", exact=True)
    if assistant.count():
        assistant.first.click()
        page.wait_for_timeout(SETTLED)


def keep(page: Page, name: str, height: int) -> None:
    """Save the page as it is, down to ``height``."""
    page.mouse.move(900, 5)
    width = page.viewport_size["width"] if page.viewport_size else 0
    page.screenshot(
        path=FOLDER / f"{name}.png",
        clip={"x": 0, "y": 0, "width": width, "height": height},
    )


def charts(page: Page, url: str) -> None:
    """Take the losses of hosted jobs and of the local run, while they train."""
    go(page, url, "openai/support-bot-v2")
    keep(page, "charts", 900)


def table(page: Page, url: str) -> None:
    """Take all runs, in the columns of the view that the link names."""
    go(page, url, "openai/support-bot-v2")
    keep(page, "table", 680)


def run(page: Page, url: str) -> None:
    """Take one run, with its whole note."""
    go(page, url, "Show more")
    page.get_by_text("Show more", exact=True).first.click()
    page.wait_for_timeout(SETTLED)
    keep(page, "run", 900)


def models(page: Page, url: str) -> None:
    """Take the checkpoints of all jobs, scrolled to their metrics."""
    go(page, url, "support-bot-step-000240")
    page.locator(".ag-center-cols-viewport").first.evaluate("table => table.scrollLeft = 760")
    page.wait_for_timeout(SETTLED)
    keep(page, "models", 690)


def main() -> None:
    """Run the demo, take the pictures, stop the demo."""
    demo = subprocess.Popen(
        [sys.executable, "-u", "-m", "bridge", "demo"], stdout=subprocess.PIPE, text=True
    )
    try:
        links: dict[str, str] = {}
        for line in demo.stdout or ():
            if found := re.search(r"^  (charts|table|models|a run)\s+(http\S+)$", line):
                links[found[1]] = found[2]
            if "Ctrl-C" in line:
                break
        with browsing(width=1440, height=900) as page:
            page.wait_for_timeout(LIVE * 1000)
            charts(page, links["charts"])
            table(page, links["table"])
            page.wait_for_timeout(ENDED * 1000)
            run(page, links["a run"])
            models(page, links["models"])
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(timeout=60)


if __name__ == "__main__":
    main()
