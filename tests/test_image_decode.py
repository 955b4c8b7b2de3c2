"""Images are decoded as OpenCV does, but what is damaged, cut or too large is refused by name."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pose.data.image_decode import READ_FLAGS, decode_image, orientation
from pose.support.errors import PoseError

PHOTO = Image.fromarray(
    cv2.resize(
        np.random.default_rng(0).integers(0, 256, (18, 24, 3), np.uint8),
        (240, 180),
        interpolation=cv2.INTER_CUBIC,
    )
)
END = b"\xff\xd9"


def encoded(kind: str, mode: str = "RGB", **options) -> bytes:
    content = io.BytesIO()
    PHOTO.convert(mode).save(content, kind, **options)
    return content.getvalue()


def changed(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def of_size(jpeg: bytes, width: int, height: int) -> bytes:
    """The JPEG with other sides in its header."""
    return changed(jpeg, jpeg.index(b"\xff\xc0") + 5, struct.pack(">HH", height, width))


def png(width: int, height: int) -> bytes:
    """A small PNG that announces this size and is whole otherwise."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


WHOLE = encoded("JPEG", quality=95)
HALF = len(WHOLE) // 2
SCAN = WHOLE.index(b"\xff\xda")
PROGRESSIVE = encoded("JPEG", progressive=True)
RESTARTS = encoded("JPEG", restart_marker_rows=1)
CMYK = encoded("JPEG", "CMYK")
PNG = encoded("PNG")
TIFF = encoded("TIFF", compression="tiff_adobe_deflate")

DAMAGED = {
    "zeros inside": WHOLE[:HALF] + bytes(400) + WHOLE[HALF + 400 :],
    "a piece lost": WHOLE[:HALF] + WHOLE[HALF + 1000 :],
    "the second half lost": WHOLE[:HALF] + END,
    "cut": WHOLE[:HALF],
    "cut and padded": WHOLE[:HALF] + bytes(HALF),
    "cut before its end marker": WHOLE[:-2],
    "cut in its header": WHOLE[:200],
    "other height": of_size(WHOLE, 240, 196),
    "later scans lost": PROGRESSIVE[: PROGRESSIVE.rindex(b"\xff\xda")] + END,
    "all but one scan lost": PROGRESSIVE[: PROGRESSIVE.index(b"\xff\xc4", 700)] + END,
    "rows lost": RESTARTS[: RESTARTS.index(b"\xff\xd1")] + RESTARTS[RESTARTS.index(b"\xff\xd2") :],
    "cut at a restart": RESTARTS[: RESTARTS.index(b"\xff\xd2") + 2] + END,
    "CMYK": CMYK[: len(CMYK) // 2] + bytes(100) + CMYK[len(CMYK) // 2 + 100 :],
    "PNG, a bit": changed(PNG, len(PNG) // 2, bytes([PNG[len(PNG) // 2] ^ 1])),
    "PNG, its checksum": changed(PNG, len(PNG) - 14, bytes([PNG[-14] ^ 1])),
    "PNG, cut": PNG[:-5],
    "TIFF, a bit": changed(TIFF, 5000, bytes([TIFF[5000] ^ 4])),
    "TIFF, cut": encoded("TIFF")[:-500],
    "WebP, cut": encoded("WEBP")[:-500],
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_image_is_named_and_not_filled_up(kind):
    with pytest.raises(PoseError, match=r"^image a\.jpg: (damaged|truncated|cannot be decoded)"):
        decode_image(DAMAGED[kind], "a.jpg")


SOUND = {
    "padded with zeros": WHOLE + bytes(2 * len(WHOLE)),
    "padded with ones": WHOLE + b"\xff" * 100,
    "a second image behind": WHOLE + PROGRESSIVE,
    "unknown version of JFIF": changed(WHOLE, 11, b"\2"),
    "odd parameters of the scan": changed(WHOLE, SCAN + 11, bytes(3)),
}


@pytest.mark.parametrize("kind", SOUND)
def test_what_changes_no_pixel_is_no_damage(kind):
    expected = cv2.imdecode(np.frombuffer(WHOLE, np.uint8), READ_FLAGS)
    np.testing.assert_array_equal(decode_image(SOUND[kind], "a.jpg"), expected)


HUGE = {
    "JPEG": of_size(WHOLE, 65500, 65500),
    "PNG": png(65500, 65500),
    "BMP": b"BM" + struct.pack("<IIIIiiHHIIIIII", 1000, 0, 54, 40, 60000, 60000, 1, 24, *[0] * 6),
}


@pytest.mark.parametrize("kind", HUGE)
def test_an_image_of_gigapixels_is_refused_before_it_is_decoded(kind, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", None)
    monkeypatch.setattr("simplejpeg.decode_jpeg", None)
    with pytest.raises(PoseError, match=r"^image a: \d+ x \d+ pixels, more than 250 million"):
        decode_image(HUGE[kind], "a")


STRANGERS = {
    "the file is empty": b"",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0",
    "a web page": b"\n<!DOCTYPE html><html>Not found</html>",
    "ICO": encoded("ICO"),
    "data precision 12": changed(WHOLE, WHOLE.index(b"\xff\xc0") + 4, b"\x0c"),
    "truncated": b"\xff\xd8",
}


@pytest.mark.parametrize("word", STRANGERS)
def test_another_format_is_named(word):
    with pytest.raises(PoseError, match=rf"^image a: [^\n]*{word}[^\n]*; [^\n]*$"):
        decode_image(STRANGERS[word], "a")


@pytest.mark.filterwarnings("ignore:::PIL")
@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(
    st.sampled_from([WHOLE, PROGRESSIVE, PNG, TIFF, encoded("GIF"), encoded("WEBP")]),
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True, allow_subnormal=False), st.integers(0, 255)),
        max_size=4,
    ),
    st.floats(0, 1, allow_subnormal=False),
)
def test_any_damage_gives_an_image_or_one_line(data, changes, part):
    content = bytearray(data[: int(len(data) * max(part, 0.01))])
    for place, byte in changes:
        content[int(place * len(content))] = byte
    try:
        assert decode_image(bytes(content), "a").ndim == 3
    except PoseError as error:
        assert str(error).startswith("image a: ") and "\n" not in str(error)
    assert orientation(bytes(content)) in range(1, 9)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_orientation_of_exif_is_read_from_each_format(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert orientation(encoded(kind, exif=exif)) == 6
    assert orientation(encoded(kind)) == 1


@pytest.mark.parametrize("data", [PNG[:-1], png(9, 9)[:-12], png(50, 50)], ids=len)
def test_a_damaged_png_is_told_once(data, capfd):
    with pytest.raises(PoseError, match="damaged PNG"):
        decode_image(data, "x.png")
    assert capfd.readouterr().err == ""
