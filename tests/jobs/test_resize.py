"""The resize job, on real pictures, good and bad."""

import random
import re
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from jobs.resize import ResizedImage, resize_image
from taskqueue import PermanentFailure, files
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.errors import InvalidPayload
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("env")

FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "AVIF"]
ORIENTATION = 0x0112  # EXIF


def picture(width: int = 80, height: int = 40, mode: str = "RGB") -> Image.Image:
    """Red on its left half, blue on its right."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("blue", (width // 2, 0, width, height))
    return image.convert(mode)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def animation(kind: str, frames: int = 4, **options: Any) -> bytes:
    pictures = [Image.new("RGB", (40, 20), (60 * number, 0, 0)) for number in range(frames)]
    return encoded(pictures[0], kind, save_all=True, append_images=pictures[1:], duration=[70] * frames, **options)


def uploaded(content: bytes, name: str = "photo.jpg") -> str:
    return files().write(content, name).filename


def opened(result: ResizedImage) -> Image.Image:
    return Image.open(BytesIO(files().read(result.filename)[1]))


def red(pixel: Any) -> bool:
    return bool(pixel[0] > 180 and pixel[2] < 80)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_and_kept(kind: str) -> None:
    result = resize_image(uploaded(encoded(picture(), kind)), width=40)
    image = opened(result)
    assert (image.format, image.size) == (kind, (40, 20))
    assert (result.format, result.width, result.height, result.frames) == (kind.lower(), 40, 20, 1)
    assert result.size == len(files().read(result.filename)[1])
    colours = image.convert("RGB")
    assert red(colours.getpixel((5, 10)))
    assert not red(colours.getpixel((35, 10)))


@pytest.mark.parametrize("kind", [kind.lower() for kind in FORMATS])
def test_every_format_can_be_asked_for(kind: Any) -> None:
    assert opened(resize_image(uploaded(encoded(picture(), "PNG")), format=kind)).format == kind.upper()


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"width": 20}, (20, 10)),
        ({"height": 20}, (40, 20)),
        ({"width": 20, "height": 20}, (20, 10)),
        ({"width": 20, "height": 20, "fit": "cover"}, (20, 20)),
        ({"width": 20, "height": 20, "fit": "fill"}, (20, 20)),
        ({"width": 160}, (160, 80)),
        ({"width": 1}, (1, 1)),
    ],
)
def test_the_size_is_as_the_fit_says(options: dict[str, Any], size: tuple[int, int]) -> None:
    assert opened(resize_image(uploaded(encoded(picture(), "PNG")), **options)).size == size


def test_cover_cuts_what_is_outside_the_middle_and_fill_stretches() -> None:
    wide = Image.new("RGB", (90, 30), "red")
    wide.paste("blue", (30, 0, 60, 30))
    name = uploaded(encoded(wide, "PNG"))
    cover = opened(resize_image(name, width=30, height=30, fit="cover")).convert("RGB")
    fill = opened(resize_image(name, width=30, height=30, fit="fill")).convert("RGB")
    assert not red(cover.getpixel((3, 15)))
    assert red(fill.getpixel((3, 15)))


def test_exif_orientation_is_honoured_and_all_metadata_dropped() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # turn it a quarter clockwise to look at it
    exif[0x010E] = "a secret place"
    content = encoded(picture(), "JPEG", exif=exif, comment=b"a secret place")
    result = resize_image(uploaded(content), height=40)
    image = opened(result)
    assert image.size == (20, 40)
    assert red(image.getpixel((10, 5)))
    assert not image.getexif()
    assert b"secret" not in files().read(result.filename)[1]


def test_text_in_a_png_is_dropped() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "a secret place")
    result = resize_image(uploaded(encoded(picture(), "PNG", pnginfo=text)), width=10)
    assert b"secret" not in files().read(result.filename)[1]


def test_colours_of_another_profile_are_turned_into_srgb() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    content = encoded(picture(), "PNG", icc_profile=b"broken")
    assert red(opened(resize_image(uploaded(content), width=40)).getpixel((3, 3)))
    assert profile  # a profile that does not fit the picture's mode is ignored too
    assert red(
        opened(resize_image(uploaded(encoded(picture(), "PNG", icc_profile=profile)), width=40)).getpixel((3, 3))
    )


def test_a_cmyk_jpeg_becomes_rgb() -> None:
    image = opened(resize_image(uploaded(encoded(picture(mode="CMYK"), "JPEG")), width=40))
    assert image.mode == "RGB"
    assert red(image.getpixel((5, 10)))


def test_a_16_bit_png_becomes_8_bit() -> None:
    deep = Image.new("I;16", (10, 10), 0x8000)
    pixel = opened(resize_image(uploaded(encoded(deep, "PNG")), width=5)).convert("RGB").getpixel((2, 2))
    assert pixel == (128, 128, 128)


@pytest.mark.parametrize("kind", ["png", "webp", "avif", "gif"])
def test_transparency_is_kept_where_the_format_can(kind: Any) -> None:
    clear = Image.new("RGBA", (10, 10), (255, 0, 0, 0))
    image = opened(resize_image(uploaded(encoded(clear, "PNG")), width=5, format=kind))
    assert image.convert("RGBA").getpixel((2, 2))[3] == 0  # type: ignore[index]


def test_transparency_becomes_white_in_a_jpeg() -> None:
    clear = Image.new("RGBA", (10, 10), (255, 0, 0, 0))
    image = opened(resize_image(uploaded(encoded(clear, "PNG")), width=5, format="jpeg"))
    assert min(image.getpixel((2, 2))) > 250  # type: ignore[type-var,arg-type]


@pytest.mark.parametrize(("kind", "wanted"), [("GIF", "gif"), ("GIF", "webp"), ("WEBP", "webp"), ("WEBP", "gif")])
def test_an_animation_stays_one(kind: str, wanted: Any) -> None:
    result = resize_image(uploaded(animation(kind, loop=0)), width=20, format=wanted)
    image = opened(result)
    assert (image.n_frames, image.size, result.frames) == (4, (20, 10), 4)  # type: ignore[attr-defined]
    image.seek(2)
    image.load()
    assert image.info["duration"] == 70
    assert image.info["loop"] == 0


def test_an_animation_becomes_its_first_frame_where_the_format_has_none() -> None:
    assert resize_image(uploaded(animation("GIF")), width=20, format="png").frames == 1


def test_only_the_frames_that_are_written_count() -> None:
    frames = [Image.new("P", (2400, 2400), number) for number in range(20)]
    name = uploaded(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert resize_image(name, width=50, format="png").frames == 1
    with pytest.raises(PermanentFailure, match="The animation has 20 frames of 2400 × 2400 pixels"):
        resize_image(name, width=50, format="webp")
    many = [Image.new("RGB", (40, 20), (number, 0, 255 - number)) for number in range(200)]
    small = uploaded(encoded(many[0], "WEBP", save_all=True, append_images=many[1:], lossless=True))
    with pytest.raises(PermanentFailure, match="The animation has 200 frames of 1200 × 600 pixels"):
        resize_image(small, width=1200)


@pytest.mark.parametrize(("wanted", "frames"), [(None, 4), ("gif", 4), ("webp", 4), ("jpeg", 1)])
def test_an_animated_png_stays_one(wanted: Any, frames: int) -> None:
    result = resize_image(uploaded(animation("PNG")), width=20, format=wanted)
    image = opened(result)
    assert (result.frames, getattr(image, "n_frames", 1), image.size) == (frames, frames, (20, 10))


def test_the_picture_that_an_animated_png_hides_is_no_frame() -> None:
    hidden, shown = (
        Image.new("RGB", (40, 20), "blue"),
        [Image.new("RGB", (40, 20), (200 + n, 0, 0)) for n in (1, 2)],
    )
    content = encoded(hidden, "PNG", save_all=True, append_images=shown, default_image=True)
    result = resize_image(uploaded(content), width=20, format="webp")
    assert result.frames == 2
    assert red(opened(result).convert("RGB").getpixel((5, 5)))


@pytest.mark.parametrize("wanted", [None, *(kind.lower() for kind in FORMATS)])
@pytest.mark.parametrize("cut", [False, True])
def test_the_second_picture_of_a_photograph_is_no_frame(wanted: Any, cut: bool) -> None:
    photo = encoded(Image.new("RGB", (800, 600), "red"), "JPEG")
    content = encoded(
        Image.new("RGB", (800, 600), "red"),
        "MPO",
        save_all=True,
        append_images=[Image.new("RGB", (800, 600), "blue")],
    )
    result = resize_image(uploaded(content[: len(photo) + 200] if cut else content), width=200, format=wanted)
    assert (result.frames, result.width, result.height) == (1, 200, 150)
    assert red(opened(result).convert("RGB").getpixel((100, 75)))


def test_a_photograph_with_many_large_pictures_is_one_picture() -> None:
    large = Image.new("RGB", (7000, 5000), "red")
    content = encoded(large, "MPO", save_all=True, append_images=[large, large])
    assert resize_image(uploaded(content), width=200).height == 143


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("tag", "tag_type", "count", "value"),
    [
        (0x0128, 2, 4, b"inch"),  # the unit of the resolution: a text
        (0x011A, 2, 4, b"72.0"),  # the resolution: a text,
        (0x011A, 10, 1, b"\xff\xff\xff\x7f"),  # beyond the end,
        (0x011A, 9, 1, b"\xff\xff\xff\xff"),  # or negative
        (0x829A, 7, 4, b"abcd"),
        (0x010F, 99, 4, b"abcd"),  # a type that does not exist
        (0x8769, 4, 1, b"\xff\xff\xff\xff"),  # more EXIF, beyond the end
        (0x927C, 7, 2**31, b"\0\0\0\0"),
    ],
)
def test_odd_metadata_never_refuse_a_picture(kind: str, tag: int, tag_type: int, count: int, value: bytes) -> None:
    entries = [struct.pack("<HHII", ORIENTATION, 3, 1, 6), struct.pack("<HHI", tag, tag_type, count) + value]
    tiff = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + b"".join(sorted(entries)) + bytes(4)
    content = encoded(picture(), kind, exif=b"Exif\0\0" + tiff)
    image = opened(resize_image(uploaded(content), height=40)).convert("RGB")
    assert image.size == (20, 40)
    assert red(image.getpixel((10, 5)))


def test_broken_exif_never_refuses_a_picture() -> None:
    for broken in (b"Exif\x00\x00", b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"Exif\x00\x00rubbish" * 9):
        for kind in ("JPEG", "PNG", "WEBP"):
            assert resize_image(uploaded(encoded(picture(), kind, exif=broken)), width=40).height == 20


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = encoded(picture(), "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(BytesIO(content)))
    image = opened(resize_image(uploaded(content), format="png"))
    assert image.tobytes() == expected.tobytes()
    cover = opened(resize_image(uploaded(content), width=10, height=30, fit="cover", format="png"))
    assert cover.size == (10, 30)


def test_a_picture_of_a_phone_of_50_megapixels_is_taken() -> None:
    assert resize_image(uploaded(encoded(Image.new("RGB", (8160, 6144), "gray"), "JPEG")), width=200).height == 151


def test_a_result_that_is_too_large_to_store_is_a_permanent_failure(env: pytest.MonkeyPatch) -> None:
    env.setenv("MAX_FILE_BYTES", "5000")
    name = uploaded(encoded(Image.effect_noise((40, 40), 100), "JPEG", quality=30))
    with pytest.raises(PermanentFailure, match=r"The resized picture has .* bytes. .*MAX_FILE_BYTES"):
        resize_image(name, width=400, format="png")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (1, {"width": 100}, "The picture has 1 × 50000000 pixels"),
        (2, {"width": 5000, "height": 5000, "fit": "fill", "format": "avif"}, "needs about .* MiB"),
    ],
)
def test_what_needs_too_much_memory_is_refused_before_it_is_decoded(
    content: int, options: dict[str, Any], message: str
) -> None:
    name = uploaded(bomb(1, 50_000_000) if content == 1 else bomb(7_000, 7_000))
    code = (
        "import resource; from jobs.resize import resize_image\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "before = peak()\n"
        f"try: resize_image({name!r}, **{options!r})\n"
        "except Exception as error: print(peak() - before, type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    grown_mib, _, words = done.stdout.partition(" ")
    assert re.search(f"PermanentFailure .*{message}", words), done.stdout
    assert int(grown_mib) < (30 if content == 1 else 260)


def test_the_name_says_what_it_is() -> None:
    result = resize_image(uploaded(encoded(picture(), "PNG"), "my cat.png"), width=40, format="jpeg")
    assert result.filename.endswith("-my-cat-40x20.jpg")


def bomb(width: int, height: int) -> bytes:
    """A small PNG that declares a huge picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"just text", "is not a picture in a format that can be read"),
        (b"", "is not a picture in a format that can be read"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is not a picture in a format that can be read"),
        (encoded(picture(), "TIFF"), "is not a picture in a format that can be read"),
        (encoded(picture(800, 400), "JPEG")[:2000], "is a broken picture"),
        (encoded(picture(800, 400), "PNG")[:300], "is a broken picture"),
        (bomb(8_000, 8_000), "the maximum is 52,428,800"),
        (bomb(60_000, 60_000), "52,428,800"),
    ],
)
def test_what_is_no_good_picture_is_a_permanent_failure_in_plain_words(content: bytes, message: str) -> None:
    with pytest.raises(PermanentFailure, match=message):
        resize_image(uploaded(content, "x.png"), width=10)


def test_an_empty_filename_is_refused_at_once(queue: TaskQueue) -> None:
    with pytest.raises(InvalidPayload, match="/filename: "):
        queue.submit("resize", {"filename": "", "width": 10})


def test_a_file_that_is_gone_is_a_permanent_failure() -> None:
    with pytest.raises(PermanentFailure, match=r"There is no file 'gone\.png'"):
        resize_image("gone.png", width=10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give width, height or format"),
        ({"width": 10, "fit": "cover"}, "fit 'cover' needs width and height"),
        ({"width": 10_000}, "The result would have 10000 × 100000 pixels"),
    ],
)
def test_what_cannot_be_done_is_said(options: dict[str, Any], message: str) -> None:
    tall = picture(40, 400) if options.get("width") == 10_000 else picture()
    with pytest.raises(PermanentFailure, match=message):
        resize_image(uploaded(encoded(tall, "PNG")), **options)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_file_is_a_picture_or_a_permanent_failure(kind: str) -> None:
    chance = random.Random(kind)
    good = animation("GIF") if kind == "GIF" else encoded(picture(), kind)
    for _ in range(60):
        damaged = bytearray(good)
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            resize_image(uploaded(bytes(damaged)), width=10)
        except PermanentFailure as failure:
            assert str(failure)  # noqa: PT017  both ends are good


def test_memory_is_bounded() -> None:
    """The largest picture that is taken, in a process that may have no more than so much."""
    name = uploaded(encoded(Image.new("RGB", (7_000, 7_000), "red"), "JPEG"))
    code = f"from jobs.resize import resize_image; print(resize_image({name!r}, 7000, 7000, 'cover'))"
    limit = 1_500 * 2**20
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert "width=7000" in done.stdout, done.stderr


def test_it_runs_in_a_worker(queue: TaskQueue, work: Callable[..., str]) -> None:
    task = queue.submit("resize", {"filename": uploaded(animation("GIF"), "wave.gif"), "width": 20})
    work()
    read = queue.get(task.id)
    assert read.status == "complete", read.error
    assert (read.result["width"], read.result["height"], read.result["frames"]) == (20, 10, 4)
    assert read.progress
    assert read.progress["message"] == "resizing"
    assert read.result["filename"].endswith("-wave-20x10.gif")
    assert read.result["name"] == "wave-20x10.gif"
    assert task.id.replace("-", "") not in read.result["filename"]


@pytest.mark.parametrize(("name", "resized"), [("фото.png", "фото-10x8.png"), (".png", "image-10x8.png")])
def test_the_result_is_named_after_its_source(name: str, resized: str) -> None:
    result = resize_image(uploaded(encoded(picture(20, 16), "PNG"), name), width=10)
    assert result.name == files().read(result.filename)[0].name == resized
