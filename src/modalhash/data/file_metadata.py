"""What picture files say of themselves: when and where they were taken, with what, and texts.

Cameras write Exif, photo programs IPTC and XMP, in the file or in an XMP file beside it. All of it
is of unknown origin: what is damaged, out of range or endless is left out, and never an error.
"""

import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final

from PIL import ExifTags, IptcImagePlugin, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from modalhash.data.picture_opening import open_header
from modalhash.data.pictures import PICTURE_FORMATS
from modalhash.data.raw_pictures import is_raw_name, open_raw
from modalhash.data.xmp import find_sidecar, read_sidecar, read_xmp
from modalhash.errors import CollectionError
from modalhash.files import open_regular_file

__all__ = ["FILE_FIELDS", "read_file_metadata"]

FILE_FIELDS: Final = (
    "taken", "camera", "latitude", "longitude", "title", "caption", "keywords", "rating"
)  # fmt: skip
"""Names of the fields that files can have."""
Field = str | int | float | list[str]
Source = Mapping[str, Any]
"""What one kind of metadata says, by the names of `FILE_FIELDS`, not yet checked."""
LONGEST_TEXT: Final = 4096
LONGEST_WORD: Final = 200
MOST_KEYWORDS: Final = 200
CAMERA_DEFAULTS: Final = re.compile(
    r"(olympus|minolta|konica minolta|kodak|samsung|pentax|vivitar|sony|casio)?\s*"
    r"(digital (still )?camera|dsc|picture|default|untitled|exif_jpeg_picture|camera)\W*",
    re.IGNORECASE,
)
"""Captions that cameras write into every picture, which say nothing of it."""
UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
"""Control characters, line separators and halves of characters."""
EXIF_DATE: Final = re.compile(r"(\d{4})[:\-/](\d\d)[:\-/](\d\d)[ T](\d\d):(\d\d):(\d\d)")
ISO_DATE: Final = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d)?)?)?)?(?=$|[\s.Z+]|-\d\d:)")
XMP_PLACE: Final = re.compile(r"(\d{1,3}),(\d{1,2}(?:\.\d+)?)(?:,(\d{1,2}(?:\.\d+)?))?([NSEW])")
IFD: Final = ExifTags.IFD
BASE: Final = ExifTags.Base


def read_file_metadata(path: Path) -> dict[str, Field]:
    """Read what a picture file, and an XMP file beside it, say of the picture.

    Only the file's header is read, no pixels.

    Args:
        path: a picture file.

    Returns:
        Those of `FILE_FIELDS` that are there: `taken` as "2021-07-14T10:22:05", the camera's local
        time; `latitude` and `longitude` in degrees, north and east positive; `keywords` as a list;
        `rating` from -1 (rejected) to 5; the others as texts. Where several kinds of metadata
        disagree, the XMP file beside goes first, then XMP, IPTC and Exif; of the date, Exif's.
    """
    sources: list[Source] = []
    sidecar = find_sidecar(path)
    if sidecar is not None:
        sources.append(name_xmp(read_sidecar(sidecar)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged Exif, and sizes, which reading the picture checks
        try:
            with open_regular_file(path) as file:
                sources += list_sources(open_described(file, path))
        except (CollectionError, OSError, ValueError, SyntaxError, IndexError):
            pass  # reading the picture says what is wrong with it
    return merge_sources(sources)


def open_described(file: IO[bytes], path: Path) -> ImageFile:
    """Open the picture whose metadata are read: of a raw file that can be, the picture in it.

    Raises:
        CollectionError: if it can't be read.
        OSError, ...: what Pillow raises for a damaged header.
    """
    try:
        return open_header(file, path, PICTURE_FORMATS)
    except UnidentifiedImageError:
        if not is_raw_name(path.name):
            raise
    file.seek(0)
    picture = open_raw(file, path)
    if isinstance(picture, ImageFile):
        return picture
    raise UnidentifiedImageError(f"the picture in {path} has no metadata")


def list_sources(picture: ImageFile) -> list[Source]:
    """List what the kinds of metadata in a picture file say, the most trusted first."""
    exif = read_source(exif_source, picture)
    by_programs = [read_source(xmp_source, picture), read_source(iptc_source, picture)]
    return [{"taken": exif.get("taken")}, *by_programs, exif]


def read_source(reader: Callable[[ImageFile], Source], picture: ImageFile) -> Source:
    """Read one kind of metadata; damaged metadata say nothing."""
    try:
        return reader(picture)
    except Exception:  # noqa: BLE001 - a reader may raise anything over a made-up file
        return {}


def merge_sources(sources: Iterable[Source]) -> dict[str, Field]:
    """Take each field from the first source that has a sound one."""
    merged: dict[str, Field] = {}
    for source in sources:
        for name in FILE_FIELDS:
            if name not in merged:
                value = CHECKS[name](source.get(name))
                if value is not None:
                    merged[name] = value
    if not {"latitude", "longitude"} <= merged.keys() or (
        merged["latitude"] == merged["longitude"] == 0  # a receiver that knew no place yet
    ):
        merged.pop("latitude", None)
        merged.pop("longitude", None)
    return {name: merged[name] for name in FILE_FIELDS if name in merged}


def xmp_source(picture: ImageFile) -> Source:
    """Read the XMP in a picture file."""
    packet = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp") or b""
    if not packet and picture.format == "TIFF":
        packet = picture.getexif().get(700, b"")
    return name_xmp(read_xmp(packet.encode() if isinstance(packet, str) else bytes(packet)))


def name_xmp(properties: Mapping[str, list[str]]) -> Source:
    """Bring the properties of XMP under the names of `FILE_FIELDS`."""
    first = {name: values[0] for name, values in properties.items()}
    return {
        **first,
        "keywords": properties.get("keywords"),
        "taken": next(
            (first[name] for name in ("taken", "dated", "created") if first.get(name)), None
        ),
        "camera": join_camera(first.get("make"), first.get("model")),
        "latitude": read_xmp_place(first.get("latitude")),
        "longitude": read_xmp_place(first.get("longitude")),
    }


def iptc_source(picture: ImageFile) -> Source:
    """Read the IPTC records in a picture file."""
    records = IptcImagePlugin.getiptcinfo(picture) or {}
    is_utf8 = records.get((1, 90)) == b"\x1b%G"

    def texts(number: int) -> list[str]:
        raw = records.get((2, number), [])
        values = raw if isinstance(raw, list) else [raw]
        return [decode_text(value, is_utf8=is_utf8) for value in values]

    def text(number: int) -> str | None:
        return next(iter(texts(number)), None)

    date, clock = text(55) or "", text(60) or ""
    if re.fullmatch(r"\d{8}", date):
        date = f"{date[:4]}-{date[4:6]}-{date[6:]}"
        if re.match(r"\d{6}", clock):
            date += f"T{clock[:2]}:{clock[2:4]}:{clock[4:6]}"
    return {"title": text(5), "caption": text(120), "keywords": texts(25), "taken": date}


def exif_source(picture: ImageFile) -> Source:
    """Read the Exif in a picture file."""
    exif = picture.getexif()
    details, place = exif.get_ifd(IFD.Exif), exif.get_ifd(IFD.GPSInfo)
    camera = join_camera(exif.get(BASE.Make), exif.get(BASE.Model))
    dates = [details.get(BASE.DateTimeOriginal), details.get(BASE.DateTimeDigitized)]
    if camera is not None:  # else a program's, of when it last wrote the file
        dates.append(exif.get(BASE.DateTime))
    moment = next((date for date in map(read_date, dates) if date is not None), None)
    keywords = read_xp(exif.get(BASE.XPKeywords))
    return {
        "taken": moment,
        "camera": camera,
        "latitude": read_exif_place(place.get(2), place.get(1)),
        "longitude": read_exif_place(place.get(4), place.get(3)),
        "title": read_xp(exif.get(BASE.XPTitle)),
        "caption": mend_text(exif.get(BASE.ImageDescription)) or read_xp(exif.get(BASE.XPComment)),
        "keywords": keywords.split(";") if keywords else None,
        "rating": exif.get(0x4746),
    }


def decode_text(value: object, *, is_utf8: bool = False) -> str:
    """Decode a text whose encoding isn't always stated: UTF-8 if it can be, else Latin-1."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("utf-8", "replace") if is_utf8 else value.decode("latin-1")


def mend_text(value: object) -> object:
    """Decode UTF-8 in a text of Exif, which Pillow takes for Latin-1."""
    try:
        return value.encode("latin-1").decode() if isinstance(value, str) else value
    except UnicodeError:
        return value


def read_xp(value: object) -> str | None:
    """Decode a text as Windows writes it into Exif, UTF-16."""
    if isinstance(value, tuple):
        value = bytes(value)
    return value.decode("utf-16-le", "replace") if isinstance(value, bytes) else None


def join_camera(make: object, model: object) -> str | None:
    """Name a camera by its maker and model, the maker only once.

    Example:
        >>> join_camera("NIKON CORPORATION", "NIKON D90"), join_camera("Apple", "iPhone 12")
        ('NIKON D90', 'Apple iPhone 12')
    """
    maker, name = check_text(make) or "", check_text(model) or ""
    if not maker or name.lower().startswith(maker.split()[0].lower()):
        return name or None
    return f"{maker} {name}".strip()


def read_exif_place(parts: object, direction: object) -> float | None:
    """Convert degrees, minutes and seconds to degrees; south and west are negative."""
    if not isinstance(parts, tuple | list) or not 1 <= len(parts) <= 3:
        return None
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    letter = decode_text(direction).strip("\0 ").upper() if direction else ""
    if letter not in ("N", "S", "E", "W"):
        return None
    degrees = float(sum(number / 60.0**power for power, number in enumerate(numbers)))
    return -degrees if letter in ("S", "W") else degrees


def read_xmp_place(text: str | None) -> float | None:
    """Convert a place as XMP writes it to degrees.

    Example:
        >>> read_xmp_place("51,30.6N"), read_xmp_place("0,7,30W")
        (51.51, -0.125)
    """
    match = XMP_PLACE.fullmatch(text or "")
    if match is None:
        return None
    return read_exif_place((match[1], match[2], match[3] or 0), match[4])


def read_date(value: object) -> str | None:
    """Convert a date to ISO form, without its time zone; None if there is no such date.

    Example:
        >>> read_date("2021:07:14 10:22:05"), read_date("2021-07-14T10:22:05.5+02:00")
        ('2021-07-14T10:22:05', '2021-07-14T10:22:05')
        >>> read_date("0000:00:00 00:00:00"), read_date("2021-07")
        (None, '2021-07')
    """
    text = decode_text(value).strip("\0 ") if value else ""
    match = EXIF_DATE.match(text)
    if match is not None:
        year, month, day, *clock = match.groups()
        text = f"{year}-{month}-{day}T{':'.join(clock)}"
    match = ISO_DATE.match(text)
    if match is None:
        return None
    date = match[0]
    filled = date + "0001-01-01T00:00:00"[len(date) :]
    try:
        datetime.fromisoformat(filled)
    except ValueError:
        return None
    return date if int(date[:4]) > 1 else None


def check_text(value: object, longest: int = LONGEST_TEXT) -> str | None:
    """Clean a text: no control characters, no blanks around it, of bounded length."""
    if not isinstance(value, str | bytes):
        return None
    text = UNSEEN.sub(" ", decode_text(value)[: 2 * longest]).strip()[:longest].rstrip()
    return text or None


def check_caption(value: object) -> str | None:
    """Clean a caption; one that a camera writes into every picture is none."""
    text = check_text(value)
    return None if text is None or CAMERA_DEFAULTS.fullmatch(text) else text


def check_keywords(value: object) -> list[str] | None:
    """Clean keywords: each once, a bounded number of them."""
    words = value if isinstance(value, list) else []
    texts = (check_text(word, LONGEST_WORD) for word in words[: 5 * MOST_KEYWORDS])
    distinct = list(dict.fromkeys(text for text in texts if text is not None))
    return distinct[:MOST_KEYWORDS] or None


def check_rating(value: object) -> int | None:
    """Read a rating from -1, which is rejected, to 5."""
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        return None
    return int(number) if number in range(-1, 6) else None


def check_degrees(value: object, most: float) -> float | None:
    """Check a number of degrees, rounded to a tenth of a metre."""
    is_sound = isinstance(value, float) and math.isfinite(value) and abs(value) <= most
    return round(float(str(value)), 6) if is_sound else None


CHECKS: Final[Mapping[str, Callable[[object], Field | None]]] = {
    "taken": read_date,
    "camera": lambda value: check_text(value, LONGEST_WORD),
    "latitude": lambda value: check_degrees(value, 90),
    "longitude": lambda value: check_degrees(value, 180),
    "title": check_caption,
    "caption": check_caption,
    "keywords": check_keywords,
    "rating": check_rating,
}
