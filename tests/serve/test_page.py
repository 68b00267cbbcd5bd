"""The page in a real browser, before the real server: images come in, classes, maps and errors come out."""

import json
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from tests.serve.running import serving
from tests.serving import models as made
from tl_keras.data.decode import decode

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
playwright.expect.set_options(timeout=30_000)  # two tests at once on two cores: the page may be slow
BROWSER = shutil.which("chromium")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium")
FILES = [{"name": f"{seed}.png", "mimeType": "image/png", "buffer": made.image_file(seed)} for seed in range(3)]
BAD = {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"no image"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model in two versions, and one that takes no images."""
    folder = tmp_path_factory.mktemp("models")
    first, second = (made.image_model(folder / "animals", seed) for seed in (0, 1))
    made.half_plus_two(folder / "half_plus_two/1")
    with serving(folder, "--versions", 2) as server:
        yield server, [first, second]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=BROWSER,
            args=["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(place, browser):
    """The page, which may ask nobody but the server and must say nothing in the console."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["camera", "clipboard-write"])
    opened, said = context.new_page(), []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    asked = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(place[0].url)
    opened.get_by_text("Choose images").wait_for()
    yield opened
    context.close()
    assert [line for line in said if "status of 4" not in line] == []
    assert [url for url in asked if not url.startswith((place[0].url, "blob:", "data:"))] == []


def answers(page, count):
    playwright.expect(page.locator(".told:visible, .failed:visible")).to_have_count(count)
    return page.locator(".card")


def expected(place, version, file):
    """The class of an image by the network itself, and its probability."""
    _, networks = place
    model = networks[version - 1]
    probabilities = model.network.predict(model.view.of(decode(file["buffer"]))[None], verbose=0)[0]
    return made.NAMES[int(probabilities.argmax())], f"{100 * probabilities.max():.1f}%"


def shown(card):
    best = card.locator(".classes li").first
    return best.locator(".name").inner_text(), best.locator(".percent").inner_text()


def test_images_are_classified_as_the_network_does(page, place):
    page.set_input_files("#files", FILES)
    cards = answers(page, 3)
    assert [shown(card) for card in cards.all()] == [expected(place, 2, file) for file in FILES]
    assert page.locator("#first .facts").inner_text().startswith("It sees 12 × 16 pixels and tells 3 classes apart")
    assert page.locator("select[name=model]").first.locator("option").all_inner_texts() == [
        "animals",
        "half_plus_two (takes no images)",
    ]


def test_a_tall_photograph_is_shown_whole(page):
    tall = {"name": "tall.png", "mimeType": "image/png", "buffer": made.image_file(0, (30, 90))}
    page.set_input_files("#files", tall)
    card = answers(page, 1)
    picture, frame = card.locator("img").bounding_box(), card.locator(".frame").bounding_box()
    assert picture == frame and frame["width"] == frame["height"]
    assert page.evaluate("getComputedStyle(document.querySelector('.frame img')).objectFit") == "contain"


def test_a_map_is_shown_and_taken_away(page):
    page.set_input_files("#files", FILES[:1])
    card = answers(page, 1)
    photo = card.locator("img").get_attribute("src")
    card.get_by_role("button", name="Where it looked").click()
    playwright.expect(card.locator("img")).to_have_attribute("src", re.compile("^data:image/png;base64,"))
    one = card.locator("img").get_attribute("src")
    card.locator(".looked select").select_option(label="42")
    playwright.expect(card.locator("img")).not_to_have_attribute("src", one)
    card.get_by_role("button", name="Where it looked").click()
    playwright.expect(card.locator("img")).to_have_attribute("src", photo)


def test_two_versions_side_by_side_and_the_address_remembers(page, place):
    page.set_input_files("#files", FILES)
    answers(page, 3)
    page.get_by_label("Compare with another model or version").check()
    cards = answers(page, 6)
    for card, file in zip(cards.all(), FILES, strict=True):
        found = [shown(one) for one in card.locator(".answer").all()]
        assert found == [expected(place, 2, file), expected(place, 1, file)]
    assert "of 3." in page.locator("#standing").inner_text()
    page.reload()
    assert page.get_by_label("Compare with another model or version").is_checked()
    assert page.locator("#second select[name=version]").input_value() == "1"


def test_what_is_no_image_costs_its_own_card_alone(page, place):
    page.set_input_files("#files", [BAD, FILES[0]])
    cards = answers(page, 2)
    assert "Expected a readable JPEG, PNG" in cards.first.locator(".failed .error").inner_text()
    assert shown(cards.nth(1)) == expected(place, 2, FILES[0])
    assert page.locator("#standing").inner_text() == "2 images, 1 without an answer."


def test_the_keyboard_alone(page):
    page.set_input_files("#files", FILES)
    answers(page, 3)
    playwright.expect(page.locator("#said")).to_contain_text("3 images.")  # what came before has been said
    remove = page.get_by_role("button", name="Remove 1.png")
    remove.focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator(".card")).to_have_count(2)
    assert page.evaluate("document.activeElement.textContent") == "Remove 2.png", "the focus goes on to the next"
    playwright.expect(page.locator("#said")).to_contain_text("1.png removed")
    page.get_by_role("button", name="Remove all").press("Enter")
    playwright.expect(page.locator(".card")).to_have_count(0)
    assert page.evaluate("document.activeElement.id") == "files"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "camera-open"


DROP = """([name, bytes, kind]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
  const event = kind === "drop" ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
    : new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
  document.getElementById("drop").dispatchEvent(event);
}"""


@pytest.mark.parametrize(("kind", "name"), [("drop", "0.png"), ("paste", "pasted 1.png")])
def test_images_are_dropped_and_pasted(page, place, kind, name):
    page.evaluate(DROP, ["0.png", list(FILES[0]["buffer"]), kind])
    card = answers(page, 1)
    assert (card.locator("h3").inner_text(), shown(card)) == (name, expected(place, 2, FILES[0]))


def test_the_camera(page):
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take a picture").click()
    card = answers(page, 1)
    assert card.locator("h3").inner_text() == "camera 1.jpg" and shown(card)[0] in made.NAMES
    track = page.evaluate_handle("document.getElementById('camera-picture').srcObject.getVideoTracks()[0]")
    assert track.evaluate("track => track.readyState") == "live"
    page.get_by_role("button", name="Stop the camera").click()
    playwright.expect(page.locator("#camera-picture")).to_be_hidden()
    assert track.evaluate("track => track.readyState") == "ended"


def test_the_line_for_the_shell_gives_the_same(page, place, tmp_path):
    page.set_input_files("#files", FILES[:1])
    card = answers(page, 1)
    card.get_by_text("The same with curl").click()
    line = card.locator("code").inner_text()
    (tmp_path / "0.png").write_bytes(FILES[0]["buffer"])
    here = os.environ | {"no_proxy": "127.0.0.1"}
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=here, capture_output=True, text=True, check=True)
    (answer,) = json.loads(done.stdout)["predictions"]
    assert (answer["class"], f"{100 * np.max(answer['probabilities']):.1f}%") == expected(place, 2, FILES[0])


def test_a_server_that_went_away_is_told(browser, tmp_path):
    made.image_model(tmp_path / "animals")
    with serving(tmp_path) as server:
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.url)
        page.get_by_text("Choose images").wait_for()
        server.process.kill()
        server.process.wait()
        page.set_input_files("#files", FILES[:1])
        card = answers(page, 1)
        assert card.locator(".failed .error").inner_text() == "The server cannot be reached."
        assert card.get_by_role("button", name="Try again").is_visible()
        context.close()
