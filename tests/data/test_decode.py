"""Decoding: every accepted kind of image gives the pixels a viewer shows; everything else is named, not fatal."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from tl_keras.data.decode import decode, decode_files, resize
from tl_keras.errors import InputError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def encoded(image, kind="PNG", **options) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def smooth(height=48, width=64):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (height + width)], -1).astype(np.uint8)


# ----------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("kind, options", [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_give_the_very_pixels(kind, options):
    image = decode(encoded(PIXELS, kind, **options))
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), PIXELS)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_stay_near(kind):
    image = np.asarray(decode(encoded(smooth(), kind, quality=95)), int)
    assert np.abs(image - smooth()).mean() < 3


def test_grey_and_bilevel_are_repeated_to_three_channels():
    grey = PIXELS[..., 0]
    np.testing.assert_array_equal(np.asarray(decode(encoded(grey))), np.stack([grey] * 3, -1))
    bilevel = np.asarray(decode(encoded(Image.fromarray(grey > 127))))
    np.testing.assert_array_equal(bilevel, np.stack([(grey > 127) * np.uint8(255)] * 3, -1))


def test_sixteen_bit_grey_keeps_its_high_byte():
    deep = RNG.integers(0, 2**16, (5, 7), dtype=np.uint16)
    image = np.asarray(decode(encoded(deep)))
    np.testing.assert_array_equal(image, np.stack([(deep // 256).astype(np.uint8)] * 3, -1))


def test_transparency_lies_on_white():
    alpha = RNG.integers(0, 256, (5, 7, 1), dtype=np.uint8)
    expected = PIXELS * (alpha / 255) + 255 * (1 - alpha / 255)
    image = np.asarray(decode(encoded(np.concatenate([PIXELS, alpha], -1))), float)
    np.testing.assert_allclose(image, expected, atol=1)


def test_a_palette_with_a_transparent_entry_lies_on_white():
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    for kind in ("PNG", "GIF"):
        shown = np.asarray(decode(encoded(image, kind, transparency=0)))
        assert shown.tolist() == [[[255, 255, 255], [40, 50, 60]]], kind


def test_cmyk_is_converted():
    cmyk = Image.new("CMYK", (16, 16), (200, 100, 0, 50))
    expected = [(255 - ink) * (255 - 50) / 255 for ink in (200, 100, 0)]
    np.testing.assert_allclose(np.asarray(decode(encoded(cmyk, "JPEG", quality=100)))[8, 8], expected, atol=4)


@pytest.mark.parametrize("kind, options", [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})])
def test_an_animation_gives_its_first_frame(kind, options):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 2
    assert decode(data).getpixel((4, 4)) == (255, 0, 0)


UPRIGHT = {  # EXIF orientation: what a viewer does to the stored rows
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(np.asarray(decode(encoded(PIXELS, exif=exif))), UPRIGHT[orientation](PIXELS))


def test_damaged_exif_does_not_cost_the_image():
    data = encoded(PIXELS, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff\x01\x00")
    np.testing.assert_array_equal(np.asarray(decode(data)), PIXELS)


def test_the_content_tells_the_format_not_the_name(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(encoded(PIXELS))
    np.testing.assert_array_equal(np.asarray(decode(tmp_path / "photo.jpg")), PIXELS)


# ------------------------------------------------------------------------------------------- bad images


@pytest.mark.parametrize("kind", ["TIFF", "ICO", "PPM"])
def test_other_formats_are_refused(kind):
    with pytest.raises(InputError, match=r"expected a readable JPEG, PNG, BMP, GIF or WebP file, received"):
        decode(encoded(PIXELS, kind))


def test_empty_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="empty file"):
        decode(b"")
    with pytest.raises(InputError, match="<!DOCTYPE"):
        decode(b"<!DOCTYPE html><html>404</html>")
    with pytest.raises(InputError, match="No such file"):
        decode(tmp_path / "gone.png")


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("side", [8_001, 9_500, 60_000])
def test_a_decompression_bomb_is_refused_before_it_unpacks(side):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    start = time.perf_counter()
    with pytest.raises(InputError, match="expected at most 64000000 pixels"):
        decode(bomb)
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP"])
def test_truncated_images_are_refused(kind):
    data = encoded(RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8), kind)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(InputError, match="received"):
            decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP"])
def test_flipped_bytes_never_raise_anything_else(kind):
    whole = np.frombuffer(encoded(smooth(24, 24), kind), np.uint8)
    for _ in range(150):
        damaged = whole.copy()
        damaged[RNG.integers(0, len(damaged), 3)] = RNG.integers(0, 256, 3)
        try:
            assert decode(damaged.tobytes()).mode == "RGB"
        except InputError as error:
            assert "\n" not in str(error)


# ----------------------------------------------------------------------------------------------- resize


def triangle_weights(source, target):
    """Weights of the bilinear (triangle) filter, widened when reducing: the textbook formula."""
    scale = source / target
    support = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs((np.arange(source) + 0.5)[None] - centres[:, None]) / support)
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("size", [(12, 16), (96, 128), (30, 40)])
def test_resize_is_the_antialiased_bilinear_filter(size):
    image = RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    expected = np.einsum("ij,jkc,lk->ilc", triangle_weights(48, size[0]), image, triangle_weights(64, size[1]))
    np.testing.assert_allclose(np.asarray(resize(Image.fromarray(image), size), float), expected, atol=1.5)


def test_resize_keeps_the_aspect_ratio_and_cuts_both_sides():
    bands = np.repeat(np.array([[10, 20, 30]], np.uint8), 20, axis=1)  # three bands, 20 pixels wide each
    wide = np.repeat(np.stack([bands] * 3, -1), 20, axis=0)
    for image in (wide, wide.transpose(1, 0, 2)):
        for side in (10, 20):  # reducing, the filter reaches a little beyond the cut
            np.testing.assert_allclose(np.asarray(resize(Image.fromarray(image), (side, side))), 20, atol=1)


# ---------------------------------------------------------------------------------------- decode_files


def test_decode_files_keeps_order_and_names_what_it_leaves_out(tmp_path):
    paths = []
    for index in range(40):
        paths.append(tmp_path / f"{index}.png")
        paths[-1].write_bytes(encoded(np.full((6, 6, 3), index, np.uint8)) if index % 10 else b"")
    images, kept, rejected = decode_files(paths, (4, 5))
    assert images.shape == (36, 4, 5, 3) and images.dtype == np.uint8
    assert kept.tolist() == [index for index in range(40) if index % 10]
    np.testing.assert_array_equal(images[:, 0, 0, 0], kept)
    assert [index for index, _ in rejected] == [0, 10, 20, 30]
    assert all("empty file" in reason for _, reason in rejected)


def test_decode_files_needs_a_size_for_images_that_differ():
    small, large = encoded(np.zeros((6, 6, 3), np.uint8)), encoded(np.zeros((6, 9, 3), np.uint8))
    assert decode_files([b"", small, small])[0].shape == (2, 6, 6, 3)
    with pytest.raises(InputError, match=r"expected one size, received 6x6 and 9x6.*give a size"):
        decode_files([b"", small, large])


@pytest.mark.parametrize("size", [None, (8, 8)])
def test_decode_files_with_nothing_left_is_an_error(size):
    with pytest.raises(InputError, match=r"expected one that can be decoded, received 2 that cannot.*empty file"):
        decode_files([b"", b"GIF89a"], size)
