"""`make screenshots`: take the screenshots of the README and docs from the demo's hub, in Chromium."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, async_playwright

from exporter import config
from exporter.app import exporting
from exporter.demo import stand_ins
from tools import find

FOLDER = Path(__file__).parent.parent / "docs" / "images"
_WIDE = {"width": 1280, "height": 860}
_PHONE = {"width": 390, "height": 1200}
_PATIENCE_SECONDS = 60


async def take(folder: Path) -> None:
    """Take every screenshot.

    Args:
        folder: the output directory.

    Raises:
        TimeoutError: the exporter has not judged the demo's hub in time.
    """
    chromium = find("chromium")
    if chromium is None:
        sys.exit("Chromium is missing: run `make tools`")
    async with stand_ins() as there, async_playwright() as playwright:
        configuration = replace(config.load(there.config, {}), listen=("127.0.0.1", 0), state_dir=None)
        async with exporting(configuration) as (address, publisher), asyncio.timeout(_PATIENCE_SECONDS):
            while not (publisher.complete() and publisher.dated()):  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.1)
            browser = await playwright.chromium.launch(executable_path=chromium)
            ours = f"{address}/?namespace=mojaloop&q=moja-"
            await _picture(browser, ours, folder / "page-light.png", color_scheme="light", viewport=_WIDE)
            await _picture(browser, ours, folder / "page-dark.png", color_scheme="dark", viewport=_WIDE)
            await _picture(browser, ours, folder / "page-phone.png", color_scheme="light", viewport=_PHONE)
            await browser.close()


async def _picture(browser: Browser, url: str, path: Path, **settings: Any) -> None:
    page = await browser.new_page(**settings)
    await page.goto(url)
    await page.locator("html.scripted").wait_for()
    await page.locator("summary").first.click()
    await page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
    picture = await page.screenshot(path=path, animations="disabled")
    await page.close()
    print(f"screenshots: {path.name}, {len(picture) / 1000:.0f} kB")


if __name__ == "__main__":
    asyncio.run(take(FOLDER))
