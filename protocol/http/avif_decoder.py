"""A program that converts an AVIF picture from its input to JPEG on its output, or to PNG if it has transparency.

Run it as `python -P avif_decoder.py PIXELS BYTES`: PIXELS is the size that the file claims to have, and
BYTES the limit of the result. It is a process of its own, because libavif decodes all coded pixels before it scales
them to the claimed size: 1 kB may become 268 million pixels. Only a process can be limited to the memory that an honest
file needs.
"""

import resource
import sys
from io import BytesIO
from pathlib import Path

from PIL import AvifImagePlugin, Image, ImageOps

_STATM = Path("/proc/self/statm")
_SPARE_BYTES = 48 * 1024 * 1024
"""What the decoder of a small picture needs."""
_BYTES_PER_PIXEL = 24
_CPU_SECONDS = 20
_QUALITY = 92


def main(pixels: int, most_bytes: int) -> None:
    """Convert the picture; any error ends the process with a status other than 0."""
    used = int(_STATM.read_text().split()[0]) * resource.getpagesize()
    memory = used + _SPARE_BYTES + pixels * _BYTES_PER_PIXEL
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread would take address space
    with Image.open(BytesIO(sys.stdin.buffer.read()), formats=("AVIF",)) as image:
        profile = image.info.get("icc_profile")
        ImageOps.exif_transpose(image, in_place=True)  # Pillow reports the rotation as an EXIF orientation
        if image.has_transparency_data:
            image.save(sys.stdout.buffer, "PNG", icc_profile=profile, exif=b"", compress_level=3)
        else:
            image.convert("RGB").save(sys.stdout.buffer, "JPEG", quality=_QUALITY, icc_profile=profile, exif=b"")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
