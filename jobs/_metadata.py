"""Takes out of a PNG or a JPEG what a smaller copy does not keep, because metadata never refuse a picture."""

import struct
import zlib
from collections.abc import Iterator

PNG = b"\x89PNG\r\n\x1a\n"
PICTURE = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT", b"IEND")  # the pixels, and how they move
PROFILE, EXIF, TEXT = b"iCCP", b"eXIf", b"iTXt"
XMP = b"XML:com.adobe.xmp\0\0"  # the keyword of a text that may say how the picture lies; not compressed
MAX_METADATA_BYTES = 1024 * 1024  # Pillow refuses a picture whose unpacked texts or profile are larger


JPEG = b"\xff\xd8"  # followed by segments: 0xFF, marker, length
APPLICATION, COMMENT, SCAN = range(0xE0, 0xF0), 0xFE, 0xDA  # markers
ALONE = (0x01, *range(0xD0, 0xD8), 0xFF)  # without a length
# How an application's segment begins, and how long it is at least. The first two say which colours are meant.
SOUND = {
    0xE0: ((b"JFIF\0", 14),),
    0xEE: ((b"Adobe", 12),),
    0xE1: ((b"Exif\0\0", 6), (b"http://ns.adobe.com/xap/1.0/\0", 29)),
    0xE2: ((b"ICC_PROFILE\0", 14),),
}


def without_metadata(content: bytes) -> bytes:
    """Return a PNG or a JPEG without what only describes it; a file of another format as it is.

    The profile and what says how the picture lies stay, if they are sound: the copy is made with them.
    """
    if content.startswith(PNG):
        return PNG + b"".join(_chunks(content))
    if content.startswith(JPEG):
        return JPEG + b"".join(_segments(content))
    return content


def _chunks(content: bytes) -> Iterator[bytes]:
    at = len(PNG)
    while at + 12 <= len(content):  # length, type, CRC
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        end = at + 12 + length
        if end > len(content):
            break
        if kind in PICTURE or (kind in (PROFILE, EXIF, TEXT) and _is_sound(kind, content[at:end])):
            yield content[at:end]
        at = end
    yield content[at:]  # a broken picture stays one


def _is_sound(kind: bytes, chunk: bytes) -> bool:
    data = chunk[8:-4]
    if len(data) > MAX_METADATA_BYTES or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
        return False
    if kind == TEXT:
        return data.startswith(XMP)
    if kind == EXIF:
        return True
    method_and_profile = data.partition(b"\0")[2]  # after the profile's name
    try:
        profile = zlib.decompressobj().decompress(method_and_profile[1:], MAX_METADATA_BYTES + 1)
        return method_and_profile.startswith(b"\0") and 0 < len(profile) <= MAX_METADATA_BYTES
    except zlib.error:
        return False


def _segments(content: bytes) -> Iterator[bytes]:
    at = len(JPEG)
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        end = at + (
            1 if marker == 0xFF else 2 if marker in ALONE else 2 + int.from_bytes(content[at + 2 : at + 4])
        )
        if marker == SCAN or end > len(content):
            break
        data = content[at + 4 : end]
        described = marker == COMMENT or marker in APPLICATION
        if not described or any(
            data.startswith(begin) and len(data) >= least for begin, least in SOUND.get(marker, ())
        ):
            yield content[at:end]
        at = end
    yield content[at:]  # the pixels; or a broken picture, which stays one
