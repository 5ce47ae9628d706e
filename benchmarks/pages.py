"""The reports in a browser: their pictures for the README, their sizes, and how long they take to open.

    python benchmarks/pages.py --mapping mapping.html --run run.html --largest resnet152-resnet50.html

Each page comes from the commands of the README: ``idsnn-convert --report``, ``idsnn report``. Takes pictures of the first two
in headless Chromium, light and dark, into ``docs/images``; opens each five times and writes ``benchmarks/results/pages.json``:
bytes, and milliseconds from navigation to the end of the load event (median, and the slowest).
"""

from __future__ import annotations

import argparse
import base64
import os
import shutil
import statistics
from pathlib import Path
from typing import Any

from common import facts, write
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
WIDTH, HEIGHT = 1180, 860
TIMES = 5
PICTURES = {
    "report": ("mapping", '[data-key="student stage2.block0"]', ""),
    "run": ("run", "", ""),
    "spikes": ("run", "", "section:nth-of-type(3)"),
}
"""Name of a picture -> its page, what is selected in it, and where the picture begins (the top if nowhere)."""
OPENED = "const [page] = performance.getEntriesByType('navigation'); return page.loadEventEnd - page.startTime"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("mapping", "run", "largest"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="FILE")
    pages = vars(parser.parse_args())
    browser = opened()
    try:
        rows = {name: measured(browser, path) for name, path in pages.items()}
        for name, (page, selected, start) in PICTURES.items():
            for scheme in ("light", "dark"):
                show(browser, pages[page], scheme, selected, start)
                found = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
                (IMAGES / f"{name}{'' if scheme == 'light' else '-dark'}.png").write_bytes(base64.b64decode(found["data"]))
        version = browser.capabilities["browserVersion"]
    finally:
        browser.quit()
    write("pages", {**facts(browser=f"Chromium {version}", times=TIMES, load=round(os.getloadavg()[0], 1)), "pages": rows})


def opened() -> Any:
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium") or shutil.which("google-chrome"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def measured(browser: Any, path: Path) -> dict[str, Any]:
    times = []
    for _ in range(TIMES):
        browser.get(path.resolve().as_uri())
        times.append(browser.execute_script(OPENED))
    return {"bytes": path.stat().st_size, "median_ms": round(statistics.median(times)), "slowest_ms": round(max(times))}


def show(browser: Any, path: Path, scheme: str, selected: str, start: str) -> None:
    """Opens a page as its picture wants it."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    metrics = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(path.resolve().as_uri())
    if selected:
        click = "document.querySelector(arguments[0]).dispatchEvent(new MouseEvent('click', {bubbles: true}))"
        browser.execute_script(click, selected)
    if start:
        browser.execute_script("document.querySelector(arguments[0]).scrollIntoView(); scrollBy(0, -16)", start)


if __name__ == "__main__":
    main()
