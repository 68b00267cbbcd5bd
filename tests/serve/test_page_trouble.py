"""The page where something is missing: models, a camera, a place for a large file; and where there are many classes."""

import shutil

import keras
import numpy as np
import pytest

from tests.serve.running import serving
from tests.serving import models as made
from tl_keras.data.decode import decode
from tl_keras.data.view import View
from tl_keras.export import saved_model
from tl_keras.models import cnn

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
playwright.expect.set_options(timeout=30_000)  # two tests at once on two cores: the page may be slow
BROWSER = shutil.which("chromium")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium")
FILE = {"name": "0.png", "mimeType": "image/png", "buffer": made.image_file(0)}
KINDS = tuple(f"kind {letter}" for letter in "abcdefg")
NO_CAMERA = "Object.defineProperty(navigator, 'mediaDevices', { value: undefined })"  # as on pages that came by http
REFUSING = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotAllowedError') }"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    """A server of a network with seven classes and of a model that takes no images, and the network."""
    folder = tmp_path_factory.mktemp("models")
    made.half_plus_two(folder / "half_plus_two/1")
    keras.utils.set_random_seed(0)
    view = View((16, 16))
    network = cnn.build(len(KINDS), view.shape, filters=(4, 4, 4, 4), units=8)
    saved_model.export(network, view, KINDS, folder / "kinds")
    with serving(folder) as server:
        yield server.url, network, view


@pytest.fixture
def page(browser, seven):
    context = browser.new_context()
    opened = context.new_page()
    opened.goto(seven[0])
    opened.get_by_text("Choose images").wait_for()
    yield opened
    context.close()


def settled(page, count):
    playwright.expect(page.locator(".told:visible, .failed:visible")).to_have_count(count)
    return page.locator(".card")


def test_all_classes_are_shown_on_demand_in_the_order_of_their_probabilities(page, seven):
    _, network, view = seven
    probabilities = network.predict(view.of(decode(FILE["buffer"]))[None], verbose=0)[0]
    ordered = [KINDS[index] for index in np.argsort(-probabilities)]
    page.set_input_files("#files", FILE)
    card = settled(page, 1)
    assert card.locator(".classes .name").all_inner_texts() == ordered[:5]
    card.get_by_role("button", name="All 7 classes").press("Enter")
    assert card.locator(".classes .name").all_inner_texts() == ordered
    percents = [float(text.rstrip("%")) for text in card.locator(".classes .percent").all_inner_texts()]
    np.testing.assert_allclose(percents, 100 * np.sort(probabilities)[::-1], atol=0.051)
    card.get_by_role("button", name="Only the best 5").press("Enter")
    assert card.locator(".classes li").count() == 5


def test_the_only_version_has_nothing_to_be_compared_with_and_toys_cannot_be_chosen(page):
    assert page.get_by_label("Compare with another model or version").is_disabled()
    options = page.locator("#first select[name=model] option")
    assert options.all_inner_texts() == ["half_plus_two (takes no images)", "kinds"]
    assert options.first.is_disabled() and page.locator("#first select[name=model]").input_value() == "kinds"


def test_files_are_chosen_with_the_keyboard(page):
    page.locator("#files").focus()
    with page.expect_file_chooser() as chosen:
        page.keyboard.press("Space")
    chosen.value.set_files(FILE)
    assert settled(page, 1).locator("h3").inner_text() == "0.png"


def test_what_is_of_another_kind_or_too_large_costs_its_own_card_alone(page, tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"film")
    (tmp_path / "large.png").write_bytes(bytes(26 * 2**20))  # a third more in base64
    (tmp_path / "0.png").write_bytes(FILE["buffer"])
    page.set_input_files("#files", [tmp_path / name for name in ("film.mp4", "large.png", "0.png")])
    film, large, image = settled(page, 3).all()
    assert film.locator(".failed .error").inner_text() == "This is no image but video/mp4."
    assert "too large" in large.locator(".failed .error").inner_text()
    assert image.locator(".classes li").count() == 5
    assert page.locator("#standing").inner_text() == "3 images, 2 without an answer."


@pytest.mark.parametrize(
    ("script", "words"), [(NO_CAMERA, "only to pages that come by https"), (REFUSING, "Allow it for this page")]
)
def test_a_camera_that_cannot_be_used_is_told(browser, seven, script, words):
    context = browser.new_context()
    context.add_init_script(script)
    page = context.new_page()
    page.goto(seven[0])
    page.get_by_role("button", name="Use the camera").click()
    playwright.expect(page.get_by_role("alert").filter(has_text=words)).to_be_visible()
    playwright.expect(page.locator("#camera")).to_be_hidden()
    context.close()


def test_where_no_model_takes_images_the_page_says_so_until_one_comes(browser, tmp_path):
    made.half_plus_two(tmp_path / "half_plus_two/1")
    with serving(tmp_path) as server:
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.url)
        trouble = page.get_by_role("alert").filter(has_text="No model here takes images")
        playwright.expect(trouble).to_contain_text("half_plus_two")
        assert not page.get_by_text("Choose images").is_visible()
        made.image_model(tmp_path / "animals")
        server.wait_for(lambda: any(line.startswith("animals 1:") for line in server.lines))
        page.get_by_role("button", name="Try again").click()
        playwright.expect(page.get_by_text("Choose images")).to_be_visible()
        playwright.expect(trouble).to_have_count(0)
        context.close()
