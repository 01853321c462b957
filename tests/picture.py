"""Takes the README's picture (``make picture``): Chromium looks at MLflow while the demo runs."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).parents[1] / ".github" / "charts.png"
SECONDS = 65
"""Until the hosted jobs have trained for a while and still do."""
CHROMIUM = [
    f"--{switch}"
    for switch in (
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-sync",
        "disable-background-networking",
        "disable-component-update",
    )
]


def take(url: str) -> None:
    """Save what a person sees at ``url``, with MLflow's side panels closed."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        page = browser.new_page(viewport={"width": 1400, "height": 680})
        page.goto(url)
        page.get_by_text("openai/support-bot-v2").first.wait_for()
        close = page.get_by_role("button", name="Close")
        if close.count():
            close.first.click()
        page.get_by_placeholder("Search metric charts").fill("loss")
        page.wait_for_timeout(6_000)
        page.screenshot(path=PICTURE)
        browser.close()


def main() -> None:
    """Run the demo, take the picture, stop the demo."""
    demo = subprocess.Popen(
        [sys.executable, "-u", "-m", "bridge", "demo"], stdout=subprocess.PIPE, text=True
    )
    try:
        lines = iter(demo.stdout or ())
        url = next(found[0] for line in lines if (found := re.search(r"http\S+CHART", line)))
        time.sleep(SECONDS)
        take(url)
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(timeout=60)


if __name__ == "__main__":
    main()
