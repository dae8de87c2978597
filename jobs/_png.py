"""Takes out of a PNG what a smaller copy does not keep, because metadata never refuse a picture."""

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PICTURE = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT", b"IEND")  # the pixels, and how they move
PROFILE, EXIF, TEXT = b"iCCP", b"eXIf", b"iTXt"
XMP = b"XML:com.adobe.xmp\0\0"  # the keyword of a text that may say how the picture lies; not compressed
MAX_METADATA_BYTES = 1024 * 1024  # Pillow refuses a picture whose unpacked texts or profile are larger


def without_metadata(content: bytes) -> bytes:
    """Return a PNG without the chunks that only describe it; a file of another format as it is.

    The profile and what says how the picture lies stay, if they are sound: the copy is made with them.
    """
    if not content.startswith(SIGNATURE):
        return content
    return SIGNATURE + b"".join(_chunks(content))


def _chunks(content: bytes) -> Iterator[bytes]:
    at = len(SIGNATURE)
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
