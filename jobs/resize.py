"""Makes a smaller or larger copy of an uploaded picture, and stores it as a new file."""

import logging
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Annotated, Any, Literal

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError, features
from pydantic import Field

from jobs._metadata import without_metadata
from taskqueue import PermanentFailure, current_task, files, job, progress
from taskqueue.errors import FileTooLarge, UnknownFile

log = logging.getLogger(__name__)

MAX_PIXELS = 50 * 2**20  # before and after; phones that are sold as "50 MP" have up to 8192 × 6144
MAX_SOURCE_SIDE = 65_535  # pixels; Pillow needs memory for each row, however short it is
MAX_SIDE = 10_000  # pixels, of the result
MAX_ANIMATION_PIXELS = 100_000_000  # of all frames that are written, before and after
MAX_FRAMES = 1_000
MAX_MEMORY_BYTES = 800 * 2**20  # by the estimate of `_check_memory`

Format = Literal["jpeg", "png", "webp", "gif", "avif"]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
READABLE = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")  # an upload can reach no other decoder
ANIMATED = ("GIF", "WEBP", "AVIF")
NO_TRANSPARENCY = ("JPEG",)
ENCODER_BYTES = {"AVIF": 29, "WEBP": 19, "GIF": 8, "PNG": 4, "JPEG": 4}  # a pixel, as measured
ORIENTATION = 0x0112  # EXIF
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LYING = (5, 6, 7, 8)  # the orientations in which width and height change places
BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, RuntimeError, struct.error)
"""The exceptions that Pillow's decoders raise for damaged files."""
RESAMPLING = Image.Resampling.LANCZOS


@dataclass(frozen=True)
class ResizedImage:
    """The new file, and the size of its picture."""

    filename: str
    name: str  # that people see: "photo-200x150.jpg"
    size: int  # bytes
    format: str
    width: int
    height: int
    frames: int


@job("resize", attempts=3, timeout=60)
def resize_image(
    filename: Annotated[str, Field(min_length=1)],
    width: Side | None = None,
    height: Side | None = None,
    fit: Literal["contain", "cover", "fill"] = "contain",
    format: Format | None = None,  # noqa: A002  the field's name
    quality: Annotated[int, Field(ge=1, le=100)] = 85,
) -> ResizedImage:
    """Resize a picture from `POST /files`.

    `contain` keeps the proportions and fits into width × height (one of them is enough); `cover` keeps them, fills
    width × height and cuts off what is outside the middle; `fill` stretches. The picture is turned as its EXIF
    says, and loses all metadata. Without `format` it keeps its format; an animation stays one if the format allows
    it.
    """
    if width is None and height is None and format is None:
        raise PermanentFailure("Nothing to do: give width, height or format.")
    if fit != "contain" and (width is None or height is None) and (width or height):
        raise PermanentFailure(f"fit {fit!r} needs width and height.")
    try:
        source, content = files().read(filename)
    except (UnknownFile, FileTooLarge) as error:
        raise PermanentFailure(str(error)) from error

    with _readable_errors(filename):
        image = Image.open(BytesIO(without_metadata(content)), formats=READABLE)
        # A photograph with a second picture in it is an MPO: a JPEG with more JPEGs after it.
        source_format = (image.format or "").replace("MPO", "JPEG")
        wanted = format.upper() if format else source_format
        if wanted == "AVIF" and not features.check("avif"):
            raise PermanentFailure("This installation cannot write AVIF; ask for webp.")
        _check_source(image)
        orientation = _orientation(image)
        upright = image.size[::-1] if orientation in LYING else image.size
        target = Target(_size(upright, width, height, fit), fit, wanted, orientation)
        _check_result(target.size)
        _check_memory(image.size, target)
        # A PNG made of another format is one picture, because few programs show an animated PNG.
        animated = wanted in ANIMATED or wanted == source_format == "PNG"
        frames = _frames(image, target, animated=animated and source_format != "JPEG")
        encoded = _encode(frames, wanted, quality, image.info)
    first = frames[0]
    stem = re.sub(r"\.\w+$", "", source.name) or "image"
    name = f"{stem}-{first.width}x{first.height}.{wanted.lower().replace('jpeg', 'jpg')}"
    task = current_task()
    try:
        file = files().write(encoded, name, key=task.id if task else None)
    except FileTooLarge as error:
        raise PermanentFailure(f"The resized picture has {len(encoded):,} bytes. {error}") from error
    log.info("Resized %s to %d × %d, %d bytes", filename, first.width, first.height, file.size)
    return ResizedImage(
        file.filename, file.name, file.size, wanted.lower(), first.width, first.height, len(frames)
    )


@dataclass(frozen=True)
class Target:
    """What is made of each frame. `orientation`: how the frame lies, as its EXIF says."""

    size: tuple[int, int]
    fit: str
    format: str
    orientation: int


@contextmanager
def _readable_errors(filename: str) -> Iterator[None]:
    """Turn Pillow's errors for a bad file into `PermanentFailure`: the next attempt would read the same file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of broken metadata, which are dropped
            yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PermanentFailure(f"{filename} has more than {MAX_PIXELS:,} pixels.") from error
    except UnidentifiedImageError as error:
        raise PermanentFailure(
            f"{filename} is not a picture in a format that can be read (JPEG, PNG, WebP, GIF, AVIF)."
        ) from error
    except BROKEN as error:
        raise PermanentFailure(f"{filename} is a broken picture: {error}") from error


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1 (upright) if the EXIF is broken, because metadata never refuse a picture."""
    try:
        orientation = image.getexif().get(ORIENTATION)
    except BROKEN:
        return 1
    return orientation if isinstance(orientation, int) and orientation in TURNS else 1


def _size(upright: tuple[int, int], width: int | None, height: int | None, fit: str) -> tuple[int, int]:
    """Return the size of the result. The proportions decide a side that is not given."""
    if width and height and fit != "contain":
        return width, height
    scales = [wanted / side for wanted, side in ((width, upright[0]), (height, upright[1])) if wanted]
    scale = min(scales, default=1.0)
    return max(1, round(upright[0] * scale)), max(1, round(upright[1] * scale))


def _check_source(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SOURCE_SIDE:
        raise PermanentFailure(
            f"The picture has {image.width} × {image.height} pixels; the maximum is {MAX_PIXELS:,},"
            f" and {MAX_SOURCE_SIDE:,} a side."
        )


def _check_result(size: tuple[int, int]) -> None:
    if max(size) > MAX_SIDE or size[0] * size[1] > MAX_PIXELS:
        raise PermanentFailure(
            f"The result would have {size[0]} × {size[1]} pixels;"
            f" the maximum is {MAX_SIDE:,} a side and {MAX_PIXELS:,} in all."
        )


def _check_memory(source: tuple[int, int], target: Target) -> None:
    """Raise `PermanentFailure` if the work needs too much memory: 4 bytes a pixel, and 4 for a copy."""
    result = target.size[0] * target.size[1]
    needed = source[0] * source[1] * 8 + result * (4 + ENCODER_BYTES[target.format])
    if needed > MAX_MEMORY_BYTES:
        raise PermanentFailure(
            f"To make {target.size[0]} × {target.size[1]} pixels of {target.format} from {source[0]} × {source[1]}"
            f" needs about {needed // 2**20:,} MiB; the maximum is {MAX_MEMORY_BYTES // 2**20:,} MiB."
        )


def _frames(image: Image.Image, target: Target, *, animated: bool) -> list[Image.Image]:
    """Return the resized frames. An animation is read frame by frame, so only resized frames are in memory."""
    total = getattr(image, "n_frames", 1) if animated else 1
    if total == 1:
        image.draft(None, _draft_size(image, target))
        return [_resized(image, target)]
    _check_animation(image.size, total)
    _check_animation(target.size, total)
    # The first picture of some animated PNGs is shown only by programs that know no animations.
    hidden = 1 if getattr(image, "default_image", False) else 0
    frames = []
    for number in range(hidden, total):
        image.seek(number)
        resized = _resized(image, target)
        resized.info["duration"] = image.info.get("duration", 100)
        frames.append(resized)
        progress(number + 1, total, "resizing")
    return frames


def _check_animation(size: tuple[int, int], frames: int) -> None:
    if frames > MAX_FRAMES or size[0] * size[1] * frames > MAX_ANIMATION_PIXELS:
        raise PermanentFailure(
            f"The animation has {frames:,} frames of {size[0]} × {size[1]} pixels; the maximum is"
            f" {MAX_FRAMES:,} frames and {MAX_ANIMATION_PIXELS:,} pixels in all."
        )


def _draft_size(image: Image.Image, target: Target) -> tuple[int, int]:
    """Return the size to decode at: a JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, with less memory.

    Twice the longer side of the result keeps all detail that the last step can show, in whichever direction.
    """
    side = 2 * max(target.size)
    return min(side, image.width), min(side, image.height)


def _resized(image: Image.Image, target: Target) -> Image.Image:
    """Return the picture in its new size: colours and direction come last, when it is small."""
    transparent = image.has_transparency_data
    profile = image.info.get("icc_profile")
    picture = _resizable(image)
    lying = target.orientation in LYING
    size = target.size[::-1] if lying else target.size
    if target.fit == "cover":
        picture = ImageOps.fit(picture, size, RESAMPLING)
    elif picture.size != size:
        picture = picture.resize(size, RESAMPLING)
    picture = _true_colours(picture, profile, "RGBA" if transparent else "RGB")
    if transparent and target.format in NO_TRANSPARENCY:
        white = Image.new("RGB", picture.size, "white")
        white.paste(picture, mask=picture.getchannel("A"))
        picture = white
    if target.orientation in TURNS:
        picture = picture.transpose(TURNS[target.orientation])
    if picture is image:
        picture = image.copy()
    picture.info = {}  # EXIF, GPS, comments, text
    return picture


def _resizable(image: Image.Image) -> Image.Image:
    """Return the picture in a mode that can be resized without loss: no palette, 8 bits a channel."""
    image.load()
    if image.mode.startswith("I;16") or image.mode == "I":
        return image.point(lambda value: value / 256).convert("L")  # 16 bits to 8
    if image.mode in ("RGBA", "LA") or (image.mode in ("RGB", "L", "CMYK") and not image.has_transparency_data):
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _true_colours(image: Image.Image, profile: Any, mode: str) -> Image.Image:
    """Return the picture as RGB or RGBA, in sRGB: its profile goes with the metadata."""
    if profile and image.mode in ("RGB", "RGBA", "CMYK", "L"):
        image = _to_srgb(image, profile, mode)
    return image if image.mode == mode else image.convert(mode)


def _to_srgb(image: Image.Image, profile: bytes, mode: str) -> Image.Image:
    try:
        converted = ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode=mode
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image  # a broken profile is ignored
    return converted or image


def _encode(frames: list[Image.Image], wanted: str, quality: int, info: dict[Any, Any]) -> bytes:
    options: dict[str, Any] = {}
    if wanted in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = quality
    if wanted in ("JPEG", "PNG"):
        options["optimize"] = True
    if len(frames) > 1:
        durations = [frame.info["duration"] for frame in frames]
        options |= {"save_all": True, "append_images": frames[1:], "duration": durations}
        if "loop" in info:
            options["loop"] = info["loop"]  # 0: for ever
        elif wanted == "WEBP":
            options["loop"] = 1  # a GIF without this field plays once
        if wanted == "GIF":
            options["disposal"] = 2
    out = BytesIO()
    frames[0].save(out, wanted, **options)
    return out.getvalue()
