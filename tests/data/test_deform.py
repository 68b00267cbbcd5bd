"""Deformed copies: the field is the one that was applied, the zoom a mean, and the making can be stopped anywhere."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import elasticdeform
import numpy as np
import psutil
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from tl_keras.data import chunks, sources
from tl_keras.data.deform import Elastic, ZoomOut, deformed, field, grow
from tl_keras.data.lazy import Resized
from tl_keras.data.splits import Split
from tl_keras.errors import InputError

ROOT = Path(__file__).parents[2]


def scans(count=60, size=(28, 28)):
    split = sources.load("digits", size=size).train
    return split.take(np.arange(count))


def small_chunks(monkeypatch, images=7, pixels=28 * 28 * 3):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", images * pixels)


@pytest.mark.parametrize("size, points", [((28, 28), 3), ((8, 8), 3), ((17, 40), 5), ((6, 9), 2)])
def test_the_field_is_what_elasticdeform_applies(size, points):
    rng = np.random.default_rng(0)
    displacement = rng.normal(size=(2, points, points)) * min(size) / 10
    image = rng.random(size)
    places = np.moveaxis(np.indices(size), 0, -1) + field(displacement, size)
    sampled = map_coordinates(image, np.moveaxis(places, -1, 0), order=3, mode="constant")
    np.testing.assert_allclose(sampled, elasticdeform.deform_grid(image, displacement), atol=1e-10)


def test_each_image_is_moved_by_the_field_that_can_be_asked_for(tmp_path):
    split, elastic = scans(), Elastic(seed=3, sigma=0.1)
    made = deformed(split, elastic, tmp_path, processes=1)
    for index in (0, 1, 59):
        places = np.indices((28, 28)) + np.moveaxis(field(elastic.displacement(index, (28, 28)), (28, 28)), -1, 0)
        for channel in range(3):
            sampled = map_coordinates(split.images[index, ..., channel].astype(float), places, order=3)
            assert np.abs(made.images[index, ..., channel] - sampled.clip(0, 255)).max() < 0.51, "rounding only"
    np.testing.assert_array_equal(made.labels, split.labels)
    assert made.ids[:2].tolist() == [f"{split.ids[0]}-elastic", f"{split.ids[1]}-elastic"]
    assert made.images.dtype == np.uint8


def test_displacements_have_the_deviation_asked_for_and_differ_by_image_and_seed():
    drawn = np.stack([Elastic(seed=0, sigma=0.1).displacement(index, (40, 28)) for index in range(2000)])
    assert drawn.std() == pytest.approx(2.8, rel=0.01) and abs(drawn.mean()) < 0.05
    assert len(np.unique(drawn)) == drawn.size
    np.testing.assert_array_equal(Elastic(seed=0).displacement(5, (28, 28)), Elastic().displacement(5, (28, 28)))
    assert not np.array_equal(Elastic(seed=1).displacement(5, (28, 28)), Elastic().displacement(5, (28, 28)))


def test_no_displacement_leaves_the_images_as_they_are(tmp_path):
    split = scans(20)
    np.testing.assert_array_equal(deformed(split, Elastic(sigma=0), tmp_path, 1).images, split.images)
    np.testing.assert_array_equal(deformed(split, ZoomOut(1), tmp_path, 1).images, split.images)


@pytest.mark.parametrize("side", [8, 28])
def test_zoomed_out_is_a_reduced_image_on_a_larger_sheet(side):
    image = np.random.default_rng(0).integers(0, 256, (side, side), dtype="uint8")
    sheet = Image.fromarray(np.pad(image, 3 * side // 2)).resize((side, side), Image.Resampling.BOX)
    zoomed = ZoomOut(4)(image[None, ..., None], 0)[0, ..., 0]
    assert np.abs(zoomed - np.asarray(sheet, "float32")).max() <= 1, "rounding only"


@pytest.mark.parametrize("side", [27, 28, 41])
def test_zoomed_out_lies_where_elasticdeform_zooms_to(side):
    image = np.zeros((side, side))
    image[side // 4, side // 3] = 1
    image = gaussian_filter(image, side / 12)
    image *= 255 / image.max()
    zoomed = ZoomOut(4)(image.round().astype("uint8")[None, ..., None], 0)[0, ..., 0]
    sampled = elasticdeform.deform_grid(image, np.zeros((2, 3, 3)), order=1, zoom=0.25)
    middles = [[(picture * axis).sum() / picture.sum() for axis in np.indices(image.shape)]
               for picture in (zoomed, sampled)]  # fmt: skip
    np.testing.assert_allclose(*middles, atol=0.1)


@pytest.mark.parametrize("factor", [2, 3.5, 4])
def test_zooming_out_keeps_the_light(factor):
    split = scans(30)
    zoomed = ZoomOut(factor)(split.images, 0)
    assert zoomed.mean() * factor**2 == pytest.approx(split.images.mean(), rel=0.01)
    border = round((28 - 28 / factor) / 2) - 1
    assert not zoomed[:, :border].any() and not zoomed[:, :, -border:].any()


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_any_number_of_channels_is_deformed_alike(channels, tmp_path):
    grey = scans(5).images[..., :1]
    split = Split(np.repeat(grey, channels, -1), np.zeros(5), ("digit",))
    for deformation in (Elastic(), ZoomOut()):
        made = deformed(split, deformation, tmp_path, 1).images
        alone = deformation(grey, 0)
        np.testing.assert_array_equal(made, np.repeat(alone, channels, -1))


def test_two_processes_make_the_same_bytes_as_one(tmp_path, monkeypatch):
    small_chunks(monkeypatch)
    split = scans()
    for deformation in (Elastic(seed=5), ZoomOut()):
        one, two = (deformed(split, deformation, tmp_path / str(n), n).images for n in (1, 2))
        np.testing.assert_array_equal(one, two)
    files = [sorted(path.relative_to(tmp_path / n) for path in (tmp_path / n).rglob("*.npy")) for n in "12"]
    assert files[0] == files[1] and len(files[0]) == 2 * 9
    for file in files[0]:
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes()


def test_made_once_and_again_when_anything_changes(tmp_path, monkeypatch):
    split = scans(20)
    first = deformed(split, Elastic(), tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Elastic, "__call__", lambda *_: pytest.fail("made again"))
        np.testing.assert_array_equal(deformed(split, Elastic(), tmp_path, 1).images, first.images)
    for other in (Elastic(seed=1), Elastic(sigma=0.05), Elastic(points=4), ZoomOut(), ZoomOut(2)):
        assert not np.array_equal(deformed(split, other, tmp_path, 1).images, first.images)
    deformed(split.take(np.arange(1, 20)), Elastic(), tmp_path, 1)
    assert len(list(tmp_path.iterdir())) == 7


class Killed(BaseException):
    pass


@pytest.mark.parametrize("done", [0, 1, 5, 8])
def test_a_stopped_making_goes_on_where_it_stood(tmp_path, monkeypatch, done):
    small_chunks(monkeypatch)
    split, make, calls = scans(), Elastic.__call__, []
    whole = deformed(split, Elastic(), tmp_path / "whole", 1)

    def stops(self, images, first):
        if len(calls) == done:
            raise Killed
        calls.append(first)
        return make(self, images, first)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Elastic, "__call__", stops)
        deformed(split, Elastic(), tmp_path / "stopped", 1)
    assert calls == list(range(0, 7 * done, 7))
    with monkeypatch.context() as patch:
        patch.setattr(Elastic, "__call__", lambda *given: calls.append(given[2]) or make(*given))
        resumed = deformed(split, Elastic(), tmp_path / "stopped", 1)
    assert calls == list(range(0, 60, 7)), "each chunk was made once"
    np.testing.assert_array_equal(resumed.images, whole.images)


SCRIPT = """
import sys
import numpy as np
from tl_keras.data import chunks, deform, sources
if __name__ == "__main__":
    chunks.CHUNK_BYTES = 50 * 28 * 28 * 3
    split = sources.load("digits", size=(28, 28)).train
    split = split.take(np.resize(np.arange(len(split)), 40_000))
    print("ready", flush=True)
    deform.deformed(split, deform.Elastic(seed=1), sys.argv[1], processes=2)
"""


def test_a_killed_process_leaves_whole_chunks_and_no_orphans(tmp_path):
    script = tmp_path / "make.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path / "store")]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("store/*/0*.npy"))) < 4:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert psutil.wait_procs(workers, timeout=20)[1] == [], "they end with the process that started them"
    split = sources.load("digits", size=(28, 28)).train
    made = list(tmp_path.glob("store/*/0*.npy"))
    assert 4 <= len(made) < 800
    for chunk in made:
        start = int(chunk.stem)
        rows = np.resize(np.arange(len(split)), 40_000)[start : start + 50]
        np.testing.assert_array_equal(np.load(chunk), Elastic(seed=1)(split.images[rows], start))


def test_workers_do_without_tensorflow():
    code = "import sys; from tl_keras.data import deform; print({'tensorflow', 'keras'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert answer.stdout.strip() == "set()"


def test_grown_three_times_in_the_order_of_the_deformations(tmp_path):
    split = scans(20)
    grown = grow(split, [Elastic(), ZoomOut()], tmp_path, processes=1)
    assert len(grown) == 60 and grown.class_names == split.class_names
    np.testing.assert_array_equal(grown.labels, np.tile(split.labels, 3))
    np.testing.assert_array_equal(grown.images[:20], split.images)
    np.testing.assert_array_equal(grown.images[20:40], Elastic()(split.images, 0))
    np.testing.assert_array_equal(grown.images[40:], ZoomOut()(split.images, 0))
    assert grown.ids[[0, 20, 40]].tolist() == [split.ids[0], f"{split.ids[0]}-elastic", f"{split.ids[0]}-zoomed_out"]


def test_lazy_images_are_deformed_as_the_ones_they_stand_for(tmp_path, monkeypatch):
    small_chunks(monkeypatch)
    small = scans(20, size=(8, 8))
    lazy = Split(Resized(small.images, (28, 28)), small.labels, small.class_names)
    made = deformed(lazy, Elastic(), tmp_path, 1)
    np.testing.assert_array_equal(made.images, Elastic()(lazy.images[:], 0))


def test_the_small_scans_are_deformed_by_as_much_of_their_size(tmp_path):
    assert deformed(scans(20, size=(8, 8)), Elastic(), tmp_path, 1).images.shape == (20, 8, 8, 3)
    large, small = (Elastic().displacement(0, (side, side)) for side in (28, 8))
    np.testing.assert_allclose(small / 8, large / 28)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Elastic(sigma=-0.1), "sigma: expected a share of the side of at least 0, received -0.1"),
        (lambda: Elastic(sigma=float("nan")), "sigma: .* received nan"),
        (lambda: Elastic(points=1), "points: expected a whole number of at least 2, received 1"),
        (lambda: Elastic(seed=-1), "seed: expected a whole number of at least 0, received -1"),
        (lambda: ZoomOut(0.5), "zoom-out: expected a factor of at least 1, received 0.5"),
        (lambda: deformed(scans(0), Elastic()), "expected images to deform, received none"),
        (lambda: deformed(scans(1), Elastic(), processes=0), "processes: expected at least 1, received 0"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("deformation, message", [(Elastic(), "at least 3x3, .* 2x9"), (ZoomOut(), "4 pixels .* 2x9")])
def test_images_too_small_to_deform_are_refused(tmp_path, deformation, message):
    split = Split(np.zeros((3, 2, 9, 1), "uint8"), [0, 0, 0], ("digit",))
    with pytest.raises(InputError, match=message):
        deformed(split, deformation, tmp_path, 1)


def test_what_the_disk_has_no_room_for_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(Elastic, "__call__", lambda *_: pytest.fail("made"))
    monkeypatch.setattr(chunks.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 20 * 28 * 28 * 3 - 1}))
    with pytest.raises(InputError, match=r"expected at most 0.00 GB, .* make room"):
        deformed(scans(20), Elastic(), tmp_path, 1)


def test_a_disk_that_fills_up_is_told_and_what_was_whole_is_kept(tmp_path, monkeypatch):
    small_chunks(monkeypatch)
    split, limit = scans(), 3 * 7 * 28 * 28 * 3
    script = (
        "import resource, signal, sys; import numpy as np\n"
        "from tl_keras.data import chunks, deform, sources\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"chunks.CHUNK_BYTES = {limit}\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit // 2}, {limit}))\n"
        "split = sources.load('digits', size=(28, 28)).train.take(np.arange(60))\n"
        "deform.deformed(split, deform.Elastic(), sys.argv[1], 1)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert answer.returncode == 1 and "InputError: elastic images: expected a folder that can hold" in answer.stderr
    assert "File too large" in answer.stderr and "make room" in answer.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [], "nothing half-written"
    np.testing.assert_array_equal(deformed(split, Elastic(), tmp_path, 1).images, Elastic()(split.images, 0))


def test_a_script_that_starts_itself_again_is_told_what_to_do(tmp_path):
    script = tmp_path / "unguarded.py"
    body = SCRIPT.replace('if __name__ == "__main__":', "if True:").replace("40_000", "200")
    script.write_text(body)
    command = [sys.executable, str(script), str(tmp_path / "store")]
    answer = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert answer.returncode == 1 and 'put the call under `if __name__ == "__main__":`' in answer.stderr
