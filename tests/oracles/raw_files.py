"""A camera's raw file made by hand: a DNG with a mosaic of one colour and a preview in JPEG."""

import io
import struct
from pathlib import Path
from typing import Any

from PIL import Image

__all__ = ["write_dng"]

SHORT, LONG, BYTE, ASCII, SRATIONAL, RATIONAL = 3, 4, 1, 2, 10, 5
FORMS = {SHORT: "H", LONG: "L", BYTE: "B", SRATIONAL: "l", RATIONAL: "L"}


def write_dng(
    path: Path,
    preview: Image.Image | None,
    *,
    orientation: int = 1,
    size: tuple[int, int] = (64, 48),
    date: str = "2021:07:14 10:22:05",
) -> Path:
    """Write a DNG.

    Args:
        path: of the file.
        preview: the JPEG picture in it; None for none.
        orientation: how it is shown, as Exif numbers that.
        size: width and height of the mosaic, whose samples are all 30,000.
        date: when it was taken, as Exif writes it.
    """
    width, height = size
    mosaic = struct.pack("<H", 30_000) * (width * height)
    content = io.BytesIO()
    if preview is not None:
        preview.save(content, "JPEG", quality=95)
    jpeg = content.getvalue()
    start = 8 + len(mosaic) + len(jpeg)
    start += start % 2
    matrix = [1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1]
    entries: list[tuple[int, int, list[Any] | bytes]] = [
        (254, LONG, [0]), (256, LONG, [width]), (257, LONG, [height]), (258, SHORT, [16]),
        (259, SHORT, [1]), (262, SHORT, [32803]), (271, ASCII, b"Acme\0"), (272, ASCII, b"Raw 1\0"),
        (273, LONG, [8]), (274, SHORT, [orientation]), (277, SHORT, [1]), (278, LONG, [height]),
        (279, LONG, [len(mosaic)]), (284, SHORT, [1]), (306, ASCII, date.encode() + b"\0"),
        (33421, SHORT, [2, 2]), (33422, BYTE, [0, 1, 1, 2]), (50706, BYTE, [1, 4, 0, 0]),
        (50708, ASCII, b"Acme Raw 1\0"), (50714, SHORT, [0]), (50717, LONG, [65535]),
        (50721, SRATIONAL, matrix), (50728, RATIONAL, [1, 1, 1, 1, 1, 1]), (50778, SHORT, [21]),
    ]  # fmt: skip
    if preview is not None:
        entries.append((330, LONG, [0]))
    n_bytes = measure(entries)
    if preview is not None:
        entries[-1] = (330, LONG, [start + n_bytes])
    first = write_directory(entries, start)
    document = struct.pack("<2sHL", b"II", 42, start) + mosaic + jpeg
    document += b"\0" * (start - len(document)) + first
    if preview is not None:
        second: list[tuple[int, int, list[Any] | bytes]] = [
            (254, LONG, [1]), (256, LONG, [preview.width]), (257, LONG, [preview.height]),
            (258, SHORT, [8, 8, 8]), (259, SHORT, [7]), (262, SHORT, [6]),
            (273, LONG, [8 + len(mosaic)]), (277, SHORT, [3]), (278, LONG, [preview.height]),
            (279, LONG, [len(jpeg)]), (284, SHORT, [1]),
        ]  # fmt: skip
        document += write_directory(second, len(document))
    path.write_bytes(document)
    return path


def measure(entries: list[tuple[int, int, list[Any] | bytes]]) -> int:
    """Count the bytes of a directory with what it points at."""
    return len(write_directory(entries, 0))


def write_directory(entries: list[tuple[int, int, list[Any] | bytes]], start: int) -> bytes:
    """Write a TIFF directory that begins at `start`, and behind it what doesn't fit into it."""
    rows, rest = b"", b""
    behind = start + 2 + 12 * len(entries) + 4
    for tag, form, values in sorted(entries, key=lambda entry: entry[0]):
        if isinstance(values, bytes):
            data, count = values, len(values)
        else:
            data = struct.pack(f"<{len(values)}{FORMS[form]}", *values)
            count = len(values) // 2 if form in (SRATIONAL, RATIONAL) else len(values)
        if len(data) > 4:
            offset = struct.pack("<L", behind + len(rest))
            rest += data + b"\0" * (len(data) % 2)
            data = offset
        rows += struct.pack("<HHL", tag, form, count) + data.ljust(4, b"\0")
    return struct.pack("<H", len(entries)) + rows + struct.pack("<L", 0) + rest
