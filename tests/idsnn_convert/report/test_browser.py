"""The pages in a real browser: headless Chromium, where there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from idsnn_convert.report.chart import Level
from idsnn_convert.report.html import mapping_page
from idsnn_convert.report.png import as_base64, png
from idsnn_convert.report.probed import write_probed
from idsnn_convert.report.record import Record
from idsnn_convert.report.run_page import run_page
from idsnn_convert.report.runs import read_runs
from tests.idsnn_convert.report.conftest import HOSTILE
from tests.idsnn_convert.report.test_probed import made
from tests.idsnn_convert.report.test_runs import row, run

pytest.importorskip("selenium", reason="selenium drives the browser")
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
AXE = Path(os.environ.get("AXE_CORE", "node_modules/axe-core/axe.min.js"))
"""axe-core's script, as `npm pack axe-core` gives it: https://github.com/dequelabs/axe-core."""

pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no Chromium with its chromedriver on the PATH")


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


def show(browser: webdriver.Chrome, folder: Path, content: Record | str, width: int = 1280) -> None:
    """Opens a page, or a record's page, in a window of ``width`` pixels."""
    path = folder / "page.html"
    path.write_text(content if isinstance(content, str) else mapping_page(content), encoding="utf-8")
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(path.as_uri())


def box(browser: webdriver.Chrome, key: str) -> Any:
    return browser.find_element(By.CSS_SELECTOR, f'[data-key="{key}"]')


def keys(browser: webdriver.Chrome, selector: str, attribute: str = "data-key") -> set[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map((found) => found.getAttribute(arguments[1]))"
    return set(browser.execute_script(script, selector, attribute))


def logged(browser: Any, kind: str) -> list[dict[str, Any]]:
    """What the browser wrote into that log since it was asked last."""
    return list(browser.get_log(kind))


@pytest.fixture(scope="module")
def pages(record: Record, folder: Path) -> dict[str, str]:
    """Every kind of page: of a mapping, of one run with all that can be measured, of two runs."""
    epochs = [row(at, 40 + at, test_firing_rates={"stem.lif": 0.2, "stage1.block0.lif1": 0.1 * at}) for at in (1, 2)]
    runs = [run(folder / name, *epochs) for name in ("first", "second")]
    many = [[9 if k == j else k * j % 5 for j in range(30)] for k in range(30)]
    image = {**made().model_dump()["image"], "png": as_base64(png([bytes(12)] * 4, 3))}
    write_probed(runs[0], made(image=image))
    write_probed(runs[1], made(image=image, confusion=many, class_names=[]))
    one, other = read_runs(runs)
    level = Level("baseline", 30.0)
    return {
        "mapping": mapping_page(record),
        "run": run_page([one], level),
        "many": run_page([other]),
        "runs": run_page([one, other]),
    }


PAGES = ("mapping", "run", "many", "runs")


@pytest.mark.parametrize("kind", PAGES)
def test_it_opens_without_errors_and_without_network(
    kind: str, browser: webdriver.Chrome, folder: Path, pages: dict[str, str]
) -> None:
    logged(browser, "performance")
    show(browser, folder, pages[kind])
    assert browser.title.startswith("resnet(2-1-2 basic) -> spiking resnet8" if kind == "mapping" else "Training: ")
    broken = "return [...document.images].filter((image) => !(image.complete && image.naturalWidth)).length"
    assert browser.execute_script(broken) == 0
    assert logged(browser, "browser") == []
    sent = [row["message"] for row in logged(browser, "performance") if "Network.requestWillBeSent" in row["message"]]
    assert [message for message in sent if '"url":"file:' not in message and '"url":"data:' not in message] == []


@pytest.mark.parametrize("kind", PAGES)
def test_no_page_is_wider_than_a_telephone(kind: str, browser: webdriver.Chrome, folder: Path, pages: dict[str, str]) -> None:
    show(browser, folder, pages[kind], width=360)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360


def test_what_is_folded_on_a_runs_page_opens_by_keyboard(
    browser: webdriver.Chrome, folder: Path, pages: dict[str, str]
) -> None:
    show(browser, folder, pages["run"])
    summary = browser.find_element(By.CSS_SELECTOR, "details > summary")
    summary.send_keys(Keys.ENTER)
    assert summary.find_element(By.XPATH, "..").get_attribute("open")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.find_element(By.CSS_SELECTOR, ".raster").is_displayed()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_selected_block_shows_its_tensors_and_its_links(browser: webdriver.Chrome, folder: Path, record: Record) -> None:
    show(browser, folder, record)
    box(browser, "student stage2.block0").click()
    assert keys(browser, ".link.on", "data-ends") == {"teacher stage2.block0|student stage2.block0"}
    assert keys(browser, ".box.on") == {"teacher stage2.block0", "student stage2.block0"}
    panel = browser.find_element(By.ID, "panel").text
    shown = [line for line in panel.splitlines() if line in {row.target for row in record.tensors}]
    assert shown == [row.target for row in record.tensors if row.place == "stage2.block0"]
    assert "layer2.0.lif1" in panel
    assert "in the place of the teacher's relu layer2.0.relu1" in panel
    assert len(browser.find_elements(By.CSS_SELECTOR, "#panel svg[role=img]")) == 10
    box(browser, "teacher stage1.block1").click()
    panel = browser.find_element(By.ID, "panel").text
    assert "not used" in panel
    assert "no target block takes stage1.block1" in panel
    assert keys(browser, ".link.on", "data-ends") == set()


def test_the_keyboard_reaches_every_block(browser: webdriver.Chrome, folder: Path, record: Record) -> None:
    show(browser, folder, record)
    stops = browser.find_elements(By.CSS_SELECTOR, '.box[tabindex="0"]')
    assert [stop.get_attribute("data-key") for stop in stops] == ["teacher stem", "student stem"]
    stops[0].send_keys(Keys.ARROW_DOWN)
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert keys(browser, '[aria-pressed="true"].box') == {"student stage1.block0"}
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert keys(browser, '[aria-pressed="true"].box') == set()


def test_filters_hold_for_figure_and_table(browser: webdriver.Chrome, folder: Path, record: Record) -> None:
    show(browser, folder, record)

    def rows() -> int:
        return len(browser.find_elements(By.CSS_SELECTOR, "#tensors tbody tr:not([hidden])"))

    whole = rows()
    assert whole == len(record.tensors) + len(record.unused)
    for status, kept in (
        ("fresh", {"student head"}),
        ("unused", {"teacher stage1.block1", "teacher stage3.block1", "teacher head"}),
    ):
        browser.find_element(By.CSS_SELECTOR, f'[data-filter="{status}"]').click()
        assert keys(browser, ".box.kept") == kept
        shown = keys(browser, "#tensors tbody tr:not([hidden])", "data-status")
        assert shown == {status}
    browser.find_element(By.CSS_SELECTOR, '[data-filter=""]').click()
    assert rows() == whole
    browser.find_element(By.ID, "search").send_keys("FC.W")
    assert rows() == 2  # the student's, and the teacher's that is not used
    assert browser.find_element(By.ID, "count").text == f"2 of {whole} tensors"


def test_a_telephone_scrolls_down_only(browser: webdriver.Chrome, folder: Path, hostile: Record) -> None:
    show(browser, folder, hostile, width=360)
    for key in (None, "student stage2.block0"):
        if key:
            browser.execute_script("arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", box(browser, key))
        wide, high = browser.execute_script(
            "const page = document.documentElement; return [page.scrollWidth, page.scrollHeight]"
        )
        assert wide <= 360
        assert high > 800


def test_hostile_names_are_shown_as_text(browser: webdriver.Chrome, folder: Path, hostile: Record) -> None:
    show(browser, folder, hostile)
    told = HOSTILE.partition("\n")[0].replace("\x1b", "\\x1b")
    assert told in browser.title
    browser.execute_script(
        "arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", box(browser, "student stage2.block0")
    )
    assert told in browser.find_element(By.ID, "panel").text
    assert browser.find_elements(By.TAG_NAME, "img") == []
    assert browser.title != "1"
    assert logged(browser, "browser") == []


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(kind: str, scheme: str, browser: webdriver.Chrome, folder: Path, pages: dict[str, str]) -> None:
    if not AXE.is_file():
        pytest.skip(f"no {AXE}; name axe-core's axe.min.js in $AXE_CORE")
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    show(browser, folder, pages[kind])
    for found in browser.find_elements(By.CSS_SELECTOR, "details:not([open]) > summary"):
        found.click()
    if kind == "mapping":
        box(browser, "student stage2.block0").click()
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")})
    found = browser.execute_async_script("axe.run().then((all) => arguments[arguments.length - 1](all.violations))")
    assert [(rule["id"], [node["target"] for node in rule["nodes"]]) for rule in found] == []
