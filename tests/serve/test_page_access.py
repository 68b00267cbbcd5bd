"""The page is for everybody: axe-core finds nothing on a phone and a desk, in light and dark; nothing sticks out."""

import shutil

import pytest

from tests.serve.running import serving
from tests.serving import models as made

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
BROWSER = shutil.which("chromium")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium")
FILES = [
    {"name": f"{seed} with a long name.png", "mimeType": "image/png", "buffer": made.image_file(seed)}
    for seed in range(2)
]
BAD = {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"no image"}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for seed in range(2):
        made.image_model(folder / "animals", seed)
    with serving(folder) as server:
        yield server.url


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def findings(page):
    """What axe-core objects to, and whether something sticks out at the side."""
    violations = axe.Axe().run(page).response["violations"]
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return [(each["id"], [node["html"][:100] for node in each["nodes"]]) for each in violations], wide


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_found(url, browser, scheme, width):
    # The tool is put into the page, which the page itself forbids.
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(url)
    page.get_by_text("Choose images").wait_for()
    assert findings(page) == ([], 0), "empty"
    page.set_input_files("#files", [*FILES, BAD])
    playwright.expect(page.locator(".told:visible, .failed:visible")).to_have_count(3)
    page.get_by_text("The same with curl").first.click()
    assert findings(page) == ([], 0), "results and an error"
    page.get_by_label("Compare with another model or version").check()
    playwright.expect(page.locator(".told:visible, .failed:visible")).to_have_count(6)
    page.get_by_role("button", name="Show where it looked").click()
    playwright.expect(page.locator("img[src^='data:']")).to_have_count(4)
    assert findings(page) == ([], 0), "compared, with maps"
    context.close()
