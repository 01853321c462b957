"""A real Chromium, which opens MLflow as a person does."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE: Final = 120_000
"""Timeout in milliseconds."""
_ARGUMENTS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    """Start a browser."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - not every machine has it

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def window(browser: Browser, *, width: int = 1600, height: int = 1000) -> Iterator[Page]:
    """Open a window with an empty profile."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(PATIENCE)
    try:
        yield page
    finally:
        page.close()


@contextlib.contextmanager
def browsing(*, width: int, height: int) -> Iterator[Page]:
    """Start a browser, and open its only window."""
    with launched() as browser, window(browser, width=width, height=height) as page:
        yield page
