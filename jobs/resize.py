"""Makes a smaller or larger copy of an uploaded picture, and stores it as a new file."""

import logging
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Annotated, Any, Literal

from PIL import Image, ImageCms, ImageOps, ImageSequence, UnidentifiedImageError, features
from pydantic import Field

from taskqueue import PermanentFailure, current_task, files, job, progress
from taskqueue.errors import FileTooLarge, UnknownFile

log = logging.getLogger(__name__)

MAX_PIXELS = 50_000_000  # of a picture, by its header, before anything is decoded: 200 MB as RGBA
MAX_ANIMATION_PIXELS = 100_000_000  # of all frames of one animation together, before and after
MAX_FRAMES = 1_000
MAX_SIDE = 10_000  # pixels, of the result

Format = Literal["jpeg", "png", "webp", "gif", "avif"]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
READABLE = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")  # an upload can reach no other decoder
ANIMATED = ("GIF", "WEBP", "AVIF")
NO_TRANSPARENCY = ("JPEG",)
BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, RuntimeError, struct.error)
"""The exceptions that Pillow's decoders raise for damaged files."""
RESAMPLING = Image.Resampling.LANCZOS


@dataclass(frozen=True)
class ResizedImage:
    """The new file, and the size of its picture."""

    filename: str
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
        _, content = files().read(filename)
    except (UnknownFile, FileTooLarge) as error:
        raise PermanentFailure(str(error)) from error

    with _readable_errors(filename):
        image = Image.open(BytesIO(content), formats=READABLE)
        _check_size(image)
        # A photograph with a second picture in it is an MPO: a JPEG with more JPEGs after it.
        wanted = (format or image.format or "").upper().replace("MPO", "JPEG")
        if wanted == "AVIF" and not features.check("avif"):
            raise PermanentFailure("This installation cannot write AVIF; ask for webp.")
        frames = _frames(image, wanted, width, height, fit)
        encoded = _encode(frames, wanted, quality, image.info)
    first = frames[0]
    stem = re.sub(r"^[0-9a-f]+-|\.\w+$", "", filename) or "image"
    name = f"{stem}-{first.width}x{first.height}.{wanted.lower().replace('jpeg', 'jpg')}"
    task = current_task()
    file = files().write(encoded, name, key=task.id if task else None)
    log.info("Resized %s to %d × %d, %d bytes", filename, first.width, first.height, file.size)
    return ResizedImage(file.filename, file.size, wanted.lower(), first.width, first.height, len(frames))


@contextmanager
def _readable_errors(filename: str) -> Iterator[None]:
    """Turn Pillow's errors for a bad file into `PermanentFailure`: the next attempt would read the same file."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PermanentFailure(f"{filename} has more than {MAX_PIXELS:,} pixels.") from error
    except UnidentifiedImageError as error:
        raise PermanentFailure(
            f"{filename} is not a picture in a format that can be read (JPEG, PNG, WebP, GIF, AVIF)."
        ) from error
    except BROKEN as error:
        raise PermanentFailure(f"{filename} is a broken picture: {error}") from error


def _check_size(image: Image.Image) -> None:
    pixels, frames = image.width * image.height, getattr(image, "n_frames", 1)
    if pixels > MAX_PIXELS:
        raise PermanentFailure(
            f"The picture has {image.width} × {image.height} pixels; the maximum is {MAX_PIXELS:,}."
        )
    if frames > MAX_FRAMES or pixels * frames > MAX_ANIMATION_PIXELS:
        raise PermanentFailure(
            f"The animation has {frames:,} frames of {image.width} × {image.height} pixels; the maximum is"
            f" {MAX_FRAMES:,} frames and {MAX_ANIMATION_PIXELS:,} pixels in all."
        )


def _frames(image: Image.Image, wanted: str, width: int | None, height: int | None, fit: str) -> list[Image.Image]:
    """Return the resized frames. An animation is read frame by frame, so only resized frames are in memory."""
    total = getattr(image, "n_frames", 1)
    if wanted not in ANIMATED or total == 1:
        image.draft(image.mode, _draft_size(image, width, height))
        return [_resized(image, wanted, width, height, fit)]
    frames = []
    for number, frame in enumerate(ImageSequence.Iterator(image), 1):
        resized = _resized(frame, wanted, width, height, fit)
        if resized.width * resized.height * total > MAX_ANIMATION_PIXELS:
            raise PermanentFailure(f"The animation would have more than {MAX_ANIMATION_PIXELS:,} pixels in all.")
        resized.info["duration"] = frame.info.get("duration", 100)
        frames.append(resized)
        progress(number, total, "resizing")
    return frames


def _draft_size(image: Image.Image, width: int | None, height: int | None) -> tuple[int, int]:
    """Return the size to decode at: a JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, with less memory.

    Twice the longer side of the result keeps all detail that the last step can show, in whichever direction.
    """
    side = 2 * max(width or 0, height or 0)
    return (side, side) if width and height else (image.width, image.height)


def _resized(image: Image.Image, wanted: str, width: int | None, height: int | None, fit: str) -> Image.Image:
    picture = _true_colours(ImageOps.exif_transpose(image), wanted)
    size = _size(picture, width, height, fit)
    if max(size) > MAX_SIDE or size[0] * size[1] > MAX_PIXELS:
        raise PermanentFailure(
            f"The result would have {size[0]} × {size[1]} pixels;"
            f" the maximum is {MAX_SIDE:,} a side and {MAX_PIXELS:,} in all."
        )
    resized = ImageOps.fit(picture, size, RESAMPLING) if fit == "cover" else picture.resize(size, RESAMPLING)
    resized.info.clear()  # EXIF, GPS, comments, text
    return resized


def _size(picture: Image.Image, width: int | None, height: int | None, fit: str) -> tuple[int, int]:
    """Return the size of the result. The proportions decide a side that is not given."""
    if width and height and fit != "contain":
        return width, height
    scales = [wanted / side for wanted, side in ((width, picture.width), (height, picture.height)) if wanted]
    scale = min(scales, default=1.0)
    return max(1, round(picture.width * scale)), max(1, round(picture.height * scale))


def _true_colours(image: Image.Image, wanted: str) -> Image.Image:
    """Return the picture as RGB, or RGBA if it stays transparent, in sRGB: its profile goes with the metadata."""
    transparent = image.has_transparency_data
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I;16") or image.mode == "I":
        image = image.point(lambda value: value / 256).convert("L")  # 16 bits to 8
    if profile and image.mode in ("RGB", "RGBA", "CMYK", "L"):
        image = _to_srgb(image, profile, "RGBA" if transparent else "RGB")
    image = image.convert("RGBA" if transparent else "RGB")
    if transparent and wanted in NO_TRANSPARENCY:
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image


def _to_srgb(image: Image.Image, profile: bytes, mode: str) -> Image.Image:
    try:
        converted = ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode=mode
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
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
