"""Decoding images strictly: one that is cut, damaged or too large is refused, never filled up."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator

import cv2
import numpy as np
from PIL import ExifTags, Image

from pose.support.errors import PoseError
from pose.support.packages import package

MAX_PIXELS = 250_000_000
"""Larger images are refused by their header; those of COCO and MPII have below 5 million pixels."""

# EXIF orientation is ignored: COCO and MPII were annotated on the pixels as stored.
READ_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

JPEG = b"\xff\xd8"
MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")  # of a segment, or of the image's end
START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
TRUNCATED = "truncated JPEG; fetch it again"
PNG_END = b"IEND\xaeB`\x82"
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9

cv2.setNumThreads(0)  # the loader's processes are the parallelism
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a PoseError tells of it
Image.MAX_IMAGE_PIXELS = None  # MAX_PIXELS is checked instead
warnings.filterwarnings("ignore", module="PIL")


def decode_image(data: bytes, path: object) -> np.ndarray:
    """The image (H, W, 3) uint8 BGR that ``data`` encodes, as stored; the pixels are OpenCV's.

    Raises PoseError, which calls the image ``path``, for one that is damaged, of an unknown format
    or above ``MAX_PIXELS``.
    """
    try:
        image = _decode_jpeg(data) if data.startswith(JPEG) else None
        return _decode_other(data) if image is None else image
    except ValueError as reason:
        raise PoseError(f"image {path}: {reason}") from None


def orientation(data: bytes) -> int:
    """EXIF's orientation of an encoded image, 1 to 8; 1, as stored, where it has none."""
    try:
        found = Image.open(io.BytesIO(data)).getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises errors of many types for broken EXIF, which says nothing
        return 1
    return found if found in range(1, 9) else 1


def _decode_jpeg(data: bytes) -> np.ndarray | None:
    """By libjpeg, whose warnings are errors here; None for a subsampling that it does not know."""
    simplejpeg = package("simplejpeg")
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (KeyError, ValueError):
        return None
    _check_pixels(width, height)
    try:
        image = simplejpeg.decode_jpeg(data, "BGR", strict=True)
    except ValueError as error:
        if (mended := _without_harmless_faults(data)) != data:
            return _decode_jpeg(mended)
        reason = str(error).removeprefix("Corrupt JPEG data: ")
        if reason.startswith("Unsupported"):
            raise ValueError(f"{reason}; save it as an ordinary JPEG or PNG") from None
        if reason.startswith("Premature end"):
            raise ValueError(TRUNCATED) from None
        raise ValueError(f"damaged JPEG ({reason}); fetch it again") from None
    if _lacks_scans(data):
        raise ValueError(TRUNCATED)
    return image


def _segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The kind, offset and body of each segment that a JPEG has before its end-of-image marker."""
    position = 2
    while (marker := MARKER.search(data, position)) and (kind := marker[0][1]) != END_OF_IMAGE:
        length = int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        yield kind, marker.end() + 2, data[marker.end() + 2 : marker.end() + length]
        position = marker.end() + length


def _without_harmless_faults(data: bytes) -> bytes:
    """The JPEG without what libjpeg warns about although it changes no pixel."""
    mended = bytearray(data)
    sequential = False
    for kind, start, body in _segments(data):
        if body.startswith(b"JFIF\0"):
            mended[start + 5] = 1  # a version of JFIF that is unknown
        sequential |= kind in (0xC0, 0xC1)
        if kind == START_OF_SCAN and sequential:  # where the parameters can have one value only
            mended[start + len(body) - 3 : start + len(body)] = 0, 63, 0
    return bytes(mended)


def _lacks_scans(data: bytes) -> bool:
    """Whether a JPEG ends before each coefficient of each component came to its last bit.

    Decoders take such a progressive JPEG for a blurred image that is whole.
    """
    bits_left = {}
    for kind, _, body in _segments(data):
        if kind in START_OF_FRAME:
            bits_left = {component: [1] * 64 for component in body[6::3]}
        elif kind == START_OF_SCAN:
            count = body[0]
            first, last, bits = body[1 + 2 * count : 4 + 2 * count]
            for component in body[1 : 1 + 2 * count : 2]:
                bits_left[component][first : last + 1] = [bits & 15] * (last + 1 - first)
            if not any(map(any, bits_left.values())):
                return False
    return True


def _decode_other(data: bytes) -> np.ndarray:
    """By OpenCV, after Pillow has seen the size and what OpenCV passes over or prints about."""
    if not data:
        raise ValueError("cannot be decoded: the file is empty; fetch it again")
    name = _format(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), READ_FLAGS)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError(f"cannot be decoded{name}; fetch it again, or save it as JPEG or PNG")
    return image


def _format(data: bytes) -> str:
    """The format's name in brackets, if known; ValueError for damage or too many pixels."""
    if data[4:11] in (b"ftyphei", b"ftyphev"):
        return " (HEIC)"
    if data.startswith(JPEG) and bytes([0xFF, END_OF_IMAGE]) not in data:
        raise ValueError(TRUNCATED)
    if data[:100].lstrip()[:1] == b"<":
        return " (a web page or XML)"
    try:
        picture = Image.open(io.BytesIO(data))
    except Exception:  # of many types; what Pillow does not know, OpenCV may
        if data.startswith(b"\x89PNG"):
            raise ValueError("damaged PNG; fetch it again") from None
        return ""
    _check_pixels(*picture.size)
    try:
        if picture.format == "PNG":
            picture.verify()  # its checksums
            if PNG_END not in data:
                raise ValueError("it has no end")
            picture = Image.open(io.BytesIO(data))
        if picture.format in ("PNG", "TIFF", "JPEG"):
            picture.load()
    except Exception as error:
        raise ValueError(f"damaged {picture.format} ({error}); fetch it again") from None
    return f" ({picture.format})"


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"{width} x {height} pixels, more than {MAX_PIXELS // 10**6} million; make it smaller"
        )
