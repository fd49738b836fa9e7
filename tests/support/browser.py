"""Chromium, driven by playwright. Any console message or request to another host fails the test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, Page, Request, sync_playwright

from tests.support.components import need

PATIENCE_MS = 60_000


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser while the context is open."""
    (binary,) = need("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Complaints:
    """Violations of a page: console messages, exceptions, dialogs, requests to other origins."""

    origin: str
    allowed: tuple[str, ...] = ()
    found: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        if not any(part in text for part in self.allowed):
            self.found.append(text)

    def request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.origin}/", "data:")):
            self.found.append(f"requested {request.url}")


@contextlib.contextmanager
def opened(browser: Browser, url: str, *, allowed: tuple[str, ...] = (), **settings: Any) -> Iterator[Page]:
    """Open a page in its own profile. The context fails at the end if there were violations.

    Args:
        browser: from `chromium`.
        url: URL to open.
        allowed: parts of expected console messages.
        settings: settings of the profile, such as `viewport`, `color_scheme`, `java_script_enabled`.
    """
    origin = "/".join(url.split("/")[:3])
    complaints = Complaints(origin, allowed)
    context = browser.new_context(**settings)
    try:
        context.set_default_timeout(PATIENCE_MS)
        shown = context.new_page()
        shown.on("console", lambda message: complaints.add(f"{message.type}: {message.text}"))
        shown.on("pageerror", lambda error: complaints.add(f"error: {error}"))
        shown.on("dialog", lambda dialog: (complaints.add(f"dialog: {dialog.message}"), dialog.dismiss()))
        shown.on("request", complaints.request)
        shown.goto(url)
        yield shown
    finally:
        context.close()
    assert not complaints.found, complaints.found
