"""Decodes an image file to the pixels that the service makes of it (src/image), before resizing.

What both do, for each format: docs/images.md. Where PIL cannot give the service's pixels, or the service refuses the file,
`pixels` raises Unreadable: a picture that training sees in another way than the service costs accuracy, and nobody sees why.
Compared with the service's own pixels, file by file, in tests/test_decode.py.

PIL hides libjpeg's and libpng's warnings, by which the service refuses a file that is damaged inside. Such a file is read here.
"""
from __future__ import annotations

import io
import re
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "AVIF", "TIFF")
Image.init()
ORIENTATION = 0x0112
# How an image that is stored with an EXIF orientation is turned upright.
UPRIGHT = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
           5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
           8: Image.Transpose.ROTATE_90}
SRGB = ImageCms.createProfile("sRGB")
# The largest colour profile that is read, and tags of a profile that hold any number of steps: the service refuses both.
MAX_PROFILE_BYTES = 4 << 20
UNBOUNDED_TAGS = {direction + digit for direction in (b"D2B", b"B2D") for digit in (b"0", b"1", b"2", b"3")}
# The marker of a segment: no fill byte, and none of those that stand alone.
JPEG_SEGMENT = re.compile(b"\xff[^\x00\x01\xd0-\xd7\xff]")
# Tags of a TIFF.
BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR, TILE_WIDTH, EXTRA, SAMPLE_FORMAT = 258, 259, 262, 277, 284, 322, 338, 339
# None, CCITT (three kinds), LZW, JPEG, deflate (two numbers), PackBits, WebP.
TIFF_COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32946, 32773, 50001}
# Photometric interpretations that are read, and the colour samples that each has.
TIFF_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}
# Screen sizes that old programs wrote whatever the image's size: the service goes by the first frame then.
UNLIKELY_SCREENS = {(640, 480), (640, 512), (800, 600), (1024, 768), (1280, 1024), (1600, 1200), (0, 0)}
MAX_LIKELY_SIDE = 2048


class Unreadable(ValueError):
    """The service refuses this file, or PIL cannot make the service's pixels of it."""


def pixels(data: bytes) -> np.ndarray:
    """uint8 RGB [h, w, 3] of the first frame or page: upright, in sRGB, alpha dropped, 16 bits scaled to 8.

    Raises Unreadable.
    """
    image = opened(data)
    if image.format == "TIFF":
        check_tiff(image)
    if image.format == "GIF":
        return gif(image, data)
    if image.format in ("JPEG", "MPO") and not whole_jpeg(data):
        raise Unreadable("the JPEG has no end marker: it is cut off")
    if image.format == "PNG":
        check_png(data)
    check_profile(image.info.get("icc_profile") or b"")
    loaded(image)
    rgb = to_srgb(image)
    turn = UPRIGHT.get(orientation(image))
    return np.asarray(rgb if turn is None else rgb.transpose(turn))


def opened(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=[f for f in FORMATS if f in Image.OPEN])
    except UnidentifiedImageError as error:
        if b"ftyp" in data[:12] and "AVIF" not in Image.OPEN:
            raise Unreadable("this Pillow does not read AVIF; 11.3 and later do") from error
        raise Unreadable("PIL does not know this kind of image, or its header is damaged") from error
    except Exception as error:  # PIL's plugins raise all kinds
        raise Unreadable(f"PIL cannot read it: {error}") from error


def loaded(image: Image.Image) -> None:
    try:
        image.load()
    except Exception as error:
        raise Unreadable(f"PIL cannot decode the {image.format}: {error}") from error


def whole_jpeg(data: bytes) -> bool:
    """Whether an end marker follows the first scan. Within a scan no other bytes look like one, but a thumbnail has one too."""
    at = 2
    while segment := JPEG_SEGMENT.search(data, at):
        at = segment.end() + int.from_bytes(data[segment.end():segment.end() + 2], "big")
        if segment.group() == b"\xff\xda":
            return data.find(b"\xff\xd9", at) >= 0
    return False


def check_png(data: bytes) -> None:
    """Raises Unreadable if a chunk of pixels does not fit its checksum, which PIL does not compare, or the last chunk is not there."""
    at = 8
    while at + 12 <= len(data):
        length, name = struct.unpack(">I4s", data[at:at + 8])
        end = at + 8 + length
        if end + 4 > len(data):
            break
        if name == b"IDAT" and zlib.crc32(data[at + 4:end]).to_bytes(4, "big") != data[end:end + 4]:
            raise Unreadable("the PNG is damaged: a checksum is wrong")
        if name == b"IEND":
            return
        at = end + 4
    raise Unreadable("the PNG has no end: it is cut off")


def check_profile(profile: bytes) -> None:
    """Raises Unreadable for a profile that the service refuses: its conversion may take any time."""
    if len(profile) > MAX_PROFILE_BYTES:
        raise Unreadable(f"a colour profile of {len(profile)} bytes; at most {MAX_PROFILE_BYTES} are read")
    tags = min(100, int.from_bytes(profile[128:132], "big"))
    found = UNBOUNDED_TAGS & {profile[at:at + 4] for at in range(132, 132 + 12 * tags, 12)}
    if found:
        raise Unreadable(f"a colour profile with a list of steps (multiProcessElements, tag {min(found).decode()})")


def to_srgb(image: Image.Image) -> Image.Image:
    """An image of mode RGB, converted from an embedded profile as libvips does: one that does not fit the image is ignored."""
    profile = image.info.get("icc_profile") or b""
    space = profile[16:20]
    if image.mode == "CMYK":
        if space == b"CMYK":
            converted = from_profile(image, profile)
            if converted is not None:
                return converted
        raise Unreadable("CMYK without a profile of its own: the service converts it by a profile that PIL does not have")
    if image.mode.startswith("I"):
        return Image.fromarray(grey16(image)).convert("RGB")
    if image.mode in ("1", "L", "LA") and space == b"GRAY":
        return from_profile(image.convert("L"), profile) or image.convert("RGB")
    if image.mode in ("LAB", "F", "YCbCr", "HSV"):
        raise Unreadable(f"pixels of PIL's mode {image.mode}")
    rgb = image.convert("RGBA").convert("RGB") if image.mode in ("P", "PA", "RGBa", "La") else image.convert("RGB")
    if space == b"RGB " and image.mode not in ("1", "L", "LA"):
        return from_profile(rgb, profile) or rgb
    return rgb


def from_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """None for a profile that does not work."""
    try:
        return ImageCms.profileToProfile(image, io.BytesIO(profile), SRGB, ImageCms.Intent.PERCEPTUAL, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def grey16(image: Image.Image) -> np.ndarray:
    """uint8 [h, w] of 16-bit grey. PIL's own conversion to 8 bits would clip: nearly everything would be white."""
    wide = np.asarray(image)
    if wide.min() < 0 or wide.max() > 65535:
        raise Unreadable(f"samples from {wide.min()} to {wide.max()}; unsigned integers of 8 or 16 bits are read")
    # PIL inverts other depths of a TIFF in which 0 is white, but not this one.
    if image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == 0:
        wide = 65535 - wide
    return (wide >> 8).astype(np.uint8)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, or 1. Not that of XMP, which PIL's getexif() would take and the service does not."""
    if image.format == "TIFF":  # PIL has turned it
        return 1
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif"))
        return exif.get(ORIENTATION, 1)
    except Exception:  # rubbish in the block: the service takes no orientation from it either
        return 1


def gif(image: Image.Image, data: bytes) -> np.ndarray:
    """The first frame on its canvas. What the frame leaves free, and its transparent pixels, are black."""
    if not image.tile:
        raise Unreadable("the GIF has no image")
    left, top, right, bottom = image.tile[0][1]
    screen = struct.unpack("<HH", data[6:10])
    likely = screen not in UNLIKELY_SCREENS and max(screen) <= MAX_LIKELY_SIDE
    width, height = (max(screen[0], right), max(screen[1], bottom)) if likely else (right, bottom)
    loaded(image)
    drawn = np.asarray(image.convert("RGBA"))[top:bottom, left:right]
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[top:bottom, left:right] = drawn[..., :3] * (drawn[..., 3:] > 0)
    return canvas


def check_tiff(image: Image.Image) -> None:
    """Raises Unreadable for the sample formats that the service refuses, and for those that PIL reads in another way."""
    def values(tag: int, standard: int) -> tuple:
        value = image.tag_v2.get(tag, standard)
        return value if isinstance(value, tuple) else (value,)

    bits, form, colours = set(values(BITS, 1)), set(values(SAMPLE_FORMAT, 1)), values(PHOTOMETRIC, -1)[0]
    samples, extra = values(SAMPLES, 1)[0], len(image.tag_v2.get(EXTRA, ()))
    if form != {1}:
        raise Unreadable(f"TIFF samples of format {sorted(form)}; unsigned integers (1) are read")
    if bits - {8, 16} and not (len(bits) == 1 and samples == 1 and bits <= {1, 2, 4} and colours in (0, 1, 3)):
        raise Unreadable(f"TIFF samples of {sorted(bits)} bits; 8 and 16 are read, and 1, 2 and 4 of grey and palettes")
    if colours not in TIFF_COLOURS or (colours == 6 and values(COMPRESSION, 1)[0] != 7):
        raise Unreadable(f"a TIFF of photometric interpretation {colours}")
    if samples - extra != TIFF_COLOURS[colours] or extra > 1:
        raise Unreadable(f"a TIFF of {samples} samples a pixel; grey, RGB and CMYK are read, with or without alpha")
    if values(COMPRESSION, 1)[0] not in TIFF_COMPRESSIONS:
        raise Unreadable(f"a TIFF of compression {values(COMPRESSION, 1)[0]}")
    if values(PLANAR, 1)[0] == 2 and (TILE_WIDTH in image.tag_v2 or bits == {16}):
        raise Unreadable("a TIFF of separate planes in tiles, which the service refuses, or of 16 bits, which PIL misreads")
