"""Pictures with odd metadata: a smaller copy is made all the same."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image, PngImagePlugin

from jobs._metadata import PNG, without_metadata
from jobs.resize import resize_image
from taskqueue import PermanentFailure, files

pytestmark = pytest.mark.usefixtures("env")

HUGE = b"x" * (2 * 1024 * 1024)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(*chunks: bytes, at_the_end: bool = False, **options: object) -> bytes:
    """An 80 × 40 picture, red on its left half, with these chunks behind its header or before its end."""
    out = BytesIO()
    image = Image.new("RGB", (80, 40), "blue")
    image.paste("red", (0, 0, 40, 40))
    image.save(out, "PNG", **options)  # type: ignore[arg-type]
    content = out.getvalue()
    at = len(content) - 12 if at_the_end else len(PNG) + 25
    return content[:at] + b"".join(chunks) + content[at:]


def resized(content: bytes) -> Image.Image:
    name = files().write(content, "a.png").filename
    return Image.open(BytesIO(files().read(resize_image(name, width=20).filename)[1]))


@pytest.mark.parametrize("at_the_end", [False, True])
@pytest.mark.parametrize(
    "odd",
    [
        chunk(b"iTXt", b"Comment\0\0\0\0\0" + HUGE),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(HUGE)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(HUGE)),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(HUGE)),
        chunk(b"tEXt", b"Comment\0" + HUGE),
        chunk(b"zTXt", b"Comment\0\7" + b"unknown method"),
        chunk(b"iTXt", b"no keyword"),
        chunk(b"tEXt", b"bad check sum\0x", crc=1),
        chunk(b"pHYs", b"short"),
        chunk(b"gAMA", b""),
        chunk(b"cHRM", b"\0"),
        chunk(b"sRGB", b""),
        chunk(b"eXIf", b"rubbish"),
        chunk(b"eXIf", b"bad check sum", crc=1),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(HUGE)),
        chunk(b"iCCP", b"profile\0\0rubbish"),
        chunk(b"iCCP", b""),
        chunk(b"iCCP", b"profile\0"),
        chunk(b"iCCP", b"profile\0\5" + zlib.compress(b"x")),
        chunk(b"ruBb", HUGE),
    ],
    ids=lambda value: value[4:8].decode() if isinstance(value, bytes) else None,
)
def test_metadata_never_refuse_a_picture(odd: bytes, at_the_end: bool) -> None:
    image = resized(png(odd, at_the_end=at_the_end))
    assert image.size == (20, 10)
    assert image.convert("RGB").getpixel((3, 5)) == (255, 0, 0)


def test_many_small_texts_that_unpack_to_much_are_not_unpacked() -> None:
    packed = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 1_000_000))
    assert resized(png(*[packed] * 100)).size == (20, 10)


@pytest.mark.parametrize(
    "lying",
    [
        lambda: png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
        lambda: png(exif=orientation()),
    ],
)
def test_a_picture_is_turned_as_its_metadata_say(lying: Callable[[], bytes]) -> None:
    assert resized(lying()).size == (20, 40)


def segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


def jpeg(*segments: bytes, **options: object) -> bytes:
    """A picture like that of `png`, with these segments before all others."""
    out = BytesIO()
    Image.open(BytesIO(png())).save(out, "JPEG", **options)  # type: ignore[arg-type]
    return b"\xff\xd8" + b"".join(segments) + out.getvalue()[2:]


@pytest.mark.parametrize(
    "odd",
    [
        segment(0xE0, b""),
        segment(0xE0, b"JFIF\0"),
        segment(0xE0, b"JFIF\0\1\1\7\0\0\0\0\0\0"),
        segment(0xEE, b"Adobe"),
        segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed"),
        segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\4abcd"),
        segment(0xE2, b"ICC_PROFILE\0"),
        segment(0xE2, b"ICC_PROFILE\0\2\5rubbish"),
        segment(0xE2, b"MPF\0"),
        segment(0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
        segment(0xE1, b"Exif\0\0"),
        segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
        segment(0xFE, b"x" * 60_000) * 40,
        b"\xff\xff\xff" + segment(0xFE, b""),
    ],
)
def test_metadata_never_refuse_a_jpeg(odd: bytes) -> None:
    image = resized(jpeg(odd))
    assert image.size == (20, 10)
    red, _, blue = image.convert("RGB").getpixel((3, 5))  # type: ignore[misc]
    assert red > 240 > 20 > blue


def test_a_jpeg_keeps_its_colours_and_its_direction() -> None:
    out = BytesIO()
    Image.new("CMYK", (80, 40), (0, 255, 255, 0)).save(out, "JPEG")  # with Adobe's segment
    assert resized(out.getvalue()).convert("RGB").getpixel((3, 5))[0] > 200  # type: ignore[index]
    assert resized(jpeg(exif=orientation())).size == (20, 40)
    assert b"8BIM" not in without_metadata(jpeg(segment(0xED, b"Photoshop 3.0\x008BIM")))


def orientation() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_an_animation_and_a_palette_stay_what_they_are() -> None:
    out = BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:], duration=50)
    kept = Image.open(BytesIO(without_metadata(out.getvalue())))
    assert isinstance(kept, PngImagePlugin.PngImageFile)
    assert kept.n_frames == 3
    out = BytesIO()
    frames[0].convert("P").save(out, "PNG", transparency=0)
    assert without_metadata(out.getvalue()) == out.getvalue()


@pytest.mark.parametrize("length", [8, 20, 60, 100])
def test_a_picture_that_is_cut_off_is_a_broken_one(length: int) -> None:
    name = files().write(png()[:length], "a.png").filename
    with pytest.raises(PermanentFailure, match="picture"):
        resize_image(name, width=20)


def test_another_format_and_the_beginning_of_a_picture_are_left_as_they_are() -> None:
    for content in (b"\xff\xd8\xff", b"\xff\xd8", b"GIF89a", b"", b"\xff\xd8\xff\xe0\xff\xff"):
        assert without_metadata(content) == content
