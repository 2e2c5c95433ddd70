"""The page in a headless Chromium, over a real server: by mouse, by keyboard, on a phone; what its policy forbids."""

import os
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from .conftest import picture, wait_until

pytestmark = pytest.mark.browser

DESKTOP, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def chromium():
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        pytest.skip("needs a browser: apt-get install --no-install-recommends chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    # Root has no sandbox to give; a container's /dev/shm is small.
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-proxy-server"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))
    yield driver
    driver.quit()


@pytest.fixture
def page(chromium, server):
    chromium.set_window_size(*DESKTOP)
    chromium.get(server.url)
    wait_until(lambda: chromium.find_elements(By.CSS_SELECTOR, "#list button"), "the examples do not come")
    yield chromium
    faults = [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
    assert faults == []


def by(page, identity):
    return page.find_element(By.ID, identity)


def said(page) -> str:
    return by(page, "status").text


def box_on_screen(page) -> tuple[int, ...]:
    """Left, top, right and bottom of the box as drawn, in thousandths of the photo as drawn."""
    script = """
      const box = document.getElementById("box").getBoundingClientRect();
      const photo = document.getElementById("photo").getBoundingClientRect();
      return [(box.left - photo.left) / photo.width, (box.top - photo.top) / photo.height,
              (box.right - photo.left) / photo.width, (box.bottom - photo.top) / photo.height];
    """
    return tuple(round(1000 * share) for share in page.execute_script(script))


def give(page, file: Path, image: bytes) -> None:
    file.write_bytes(image)
    by(page, "file").send_keys(str(file))


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_photo_and_a_name_bring_the_reasoning_and_the_box(page, tmp_path, size):
    page.set_window_size(*size)
    give(page, tmp_path / "photo.png", picture(800, 400))
    by(page, "entity").send_keys("Boeing 777")
    by(page, "find").click()
    wait_until(lambda: said(page) == "Found Boeing 777.", "no answer")
    assert "Output the thinking process" in by(page, "reasoning").text
    assert by(page, "pixels").text == "200, 40, 400, 360"
    assert box_on_screen(page) == (250, 100, 500, 900)
    assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth"), "it fits the width"


def test_the_reasoning_arrives_while_the_model_still_thinks(page, server, tmp_path):
    give(page, tmp_path / "photo.png", picture())
    by(page, "entity").send_keys("slow", Keys.ENTER)
    wait_until(lambda: by(page, "reasoning").text.strip() == "call", "the first word does not arrive")
    assert server.slow.exists(), "the engine goes on only once this test lets it"
    assert not by(page, "find").is_enabled()
    server.slow.unlink()
    wait_until(lambda: said(page) == "Found slow.", "no answer")
    assert by(page, "find").is_enabled()


def test_it_can_be_stopped(page, server, tmp_path):
    give(page, tmp_path / "photo.png", picture())
    by(page, "entity").send_keys("slow", Keys.ENTER)
    wait_until(server.slow.exists, "the engine was not asked")
    by(page, "stop").click()
    wait_until(lambda: said(page) == "Stopped.", "it goes on")
    server.slow.unlink()


def test_an_example_needs_one_click(page):
    button = page.find_element(By.CSS_SELECTOR, "#list button")
    name = button.text.removeprefix("Find ")
    button.click()
    wait_until(lambda: said(page) == f"Found {name}.", "no answer")
    assert by(page, "photo").is_displayed()


def test_the_keyboard_is_enough(page):
    for _ in range(12):
        ActionChains(page).send_keys(Keys.TAB).perform()
        reached = page.switch_to.active_element
        if reached.tag_name == "button" and reached.find_elements(By.TAG_NAME, "img"):
            break
    ActionChains(page).send_keys(Keys.ENTER).perform()
    wait_until(lambda: said(page).startswith("Found "), "no answer")


def test_every_control_has_a_name_that_can_be_read_aloud(page):
    unnamed = """
      return [...document.querySelectorAll("input, button, img, a, section, form")].filter((each) => {
        const label = each.labels && each.labels[0] && each.labels[0].textContent;
        const said = each.getAttribute("aria-labelledby") || each.getAttribute("aria-label");
        return !(label || said || each.textContent.trim() || each.hasAttribute("alt"));
      }).map((each) => each.outerHTML.slice(0, 80));
    """
    assert page.execute_script(unnamed) == []
    assert page.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
    assert by(page, "status").get_attribute("aria-live") == "polite"


@pytest.mark.parametrize(
    ("entity", "says"),
    [("", "Give the name"), ("nothing", "No box: the model did not find nothing."), ("ant<|im_end|>", "special token")],
)
def test_what_went_wrong_is_said(page, tmp_path, entity, says):
    give(page, tmp_path / "photo.png", picture())
    page.execute_script("document.getElementById('entity').required = false")
    by(page, "entity").send_keys(entity, Keys.ENTER)
    wait_until(lambda: says in said(page), "nothing is said")
    page.get_log("browser")  # the browser itself notes every 422


def test_without_a_photo_it_asks_for_one(page):
    by(page, "entity").send_keys("ant", Keys.ENTER)
    wait_until(lambda: said(page) == "Give a photo first.", "nothing is said")


def test_a_pasted_and_a_dropped_photo_are_taken(page):
    script = """
      const [event, done] = arguments;
      fetch("page/example-0").then((response) => response.blob()).then((blob) => {
        const data = new DataTransfer();
        data.items.add(new File([blob], "given.png", {type: "image/png"}));
        const made = event === "paste" ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true})
                                       : new DragEvent("drop", {dataTransfer: data, bubbles: true});
        document.body.dispatchEvent(made);
        done(document.getElementById("caption").textContent);
      });
    """
    for event in ("paste", "drop"):
        page.refresh()
        assert page.execute_async_script(script, event) == "given.png", event


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_in_light_and_in_dark(page, scheme):
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    colours = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    ink, paper = (_luminance(colour) for colour in page.execute_script(colours))
    assert (ink > paper) == (scheme == "dark")
    assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) > 7, "WCAG AAA"


def test_nothing_comes_from_outside_and_nothing_may(page, server):
    loaded = page.execute_script("return performance.getEntriesByType('resource').map((each) => each.name)")
    assert loaded and all(name.startswith(server.url) or name.startswith("blob:") for name in loaded)
    injected = """
      const done = arguments[0];
      document.addEventListener("securitypolicyviolation", (event) => done(event.violatedDirective), {once: true});
      const script = document.createElement("script");
      script.textContent = "window.ran = true";
      document.body.append(script);
    """
    assert page.execute_async_script(injected).startswith("script-src")
    assert page.execute_script("return window.ran") is None
    page.get_log("browser")  # the violation that was meant


def _luminance(colour: str) -> float:
    shares = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_screenshot_can_be_looked_at(page, tmp_path):
    """Where DEEPPERCEPTION_SCREENSHOTS names a folder they stay there."""
    folder = Path(os.environ.get("DEEPPERCEPTION_SCREENSHOTS", tmp_path))
    page.find_element(By.CSS_SELECTOR, "#list button").click()
    wait_until(lambda: said(page).startswith("Found "), "no answer")
    for name, size in (("desktop", DESKTOP), ("phone", PHONE)):
        page.set_window_size(*size)
        assert page.save_screenshot(str(folder / f"{name}.png"))
