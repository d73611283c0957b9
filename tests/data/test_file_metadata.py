"""What picture files say of themselves: each kind, which goes first, and hostile ones."""

import io
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from modalhash.data.file_metadata import read_date, read_file_metadata
from modalhash.data.xmp import find_sidecar, read_xmp

XMP = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
  xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
  xmlns:tiff="http://ns.adobe.com/tiff/1.0/" {attributes}>{elements}</rdf:Description>
</rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def xmp(attributes: str = "", elements: str = "") -> bytes:
    return XMP.format(attributes=attributes, elements=elements).encode()


def iptc(*records: tuple[int, bytes]) -> bytes:
    """Make a segment of a JPEG file with IPTC records, as Photoshop writes it."""
    data = b"".join(
        struct.pack(">BBBH", 0x1C, 2, number, len(text)) + text for number, text in records
    )
    block = b"8BIM" + struct.pack(">HH", 0x0404, 0) + struct.pack(">I", len(data)) + data
    content = b"Photoshop 3.0\0" + block + b"\0" * (len(data) % 2)
    return b"\xff\xed" + struct.pack(">H", len(content) + 2) + content


def exif_of(
    base: dict[int, Any] | None = None,
    details: dict[int, Any] | None = None,
    place: dict[int, Any] | None = None,
) -> Image.Exif:
    exif = Image.Exif()
    exif.update(base or {})
    exif.get_ifd(0x8769).update(details or {})
    exif.get_ifd(0x8825).update(place or {})
    return exif


FULL = exif_of(
    {0x010F: "NIKON CORPORATION", 0x0110: "NIKON D90", 0x010E: "A dog in the snow", 0x4746: 4},
    {0x9003: "2021:07:14 10:22:05"},
    {1: "S", 2: (33.0, 51.0, 24.0), 3: "E", 4: (151.0, 12.0, 36.0)},
)
EXPECTED = {
    "taken": "2021-07-14T10:22:05",
    "camera": "NIKON D90",
    "latitude": -33.856667,  # 33 + 51 / 60 + 24 / 3600
    "longitude": 151.21,  # 151 + 12 / 60 + 36 / 3600
    "caption": "A dog in the snow",
    "rating": 4,
}


def save(path: Path, **options: Any) -> Path:
    Image.new("RGB", (16, 8), "red").save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.avif"])
def test_exif_of_every_format(name: str, tmp_path: Path) -> None:
    assert read_file_metadata(save(tmp_path / name, exif=FULL)) == EXPECTED


def test_exif_of_tiff(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", exif=FULL)  # Pillow writes the first directory only
    names = ("camera", "caption", "rating")
    assert read_file_metadata(path) == {name: EXPECTED[name] for name in names}


def test_exif_of_heic(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    path = save(tmp_path / "a.heic", exif=FULL.tobytes(), xmp=xmp('xmp:Rating="5"'))
    assert read_file_metadata(path) == {**EXPECTED, "rating": 5}


def test_a_picture_without_metadata_says_nothing(tmp_path: Path) -> None:
    assert read_file_metadata(save(tmp_path / "a.jpg")) == {}
    assert read_file_metadata(tmp_path / "missing.jpg") == {}
    (tmp_path / "text.jpg").write_text("no picture")
    assert read_file_metadata(tmp_path / "text.jpg") == {}


def test_iptc(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "JPEG")
    records = (
        (5, b"Winter"), (25, b"dog"), (25, "Schnee\u00e4".encode()), (25, b"dog"),
        (55, b"20190203"), (60, b"112233+0100"), (120, "Caf\u00e9".encode("latin-1")),
    )  # fmt: skip
    path = tmp_path / "a.jpg"
    path.write_bytes(content.getvalue()[:2] + iptc(*records) + content.getvalue()[2:])
    assert read_file_metadata(path) == {
        "taken": "2019-02-03T11:22:33",
        "title": "Winter",
        "caption": "Caf\u00e9",
        "keywords": ["dog", "Schnee\u00e4"],
    }


def test_xmp_in_elements_and_attributes(tmp_path: Path) -> None:
    elements = (
        '<dc:title><rdf:Alt><rdf:li xml:lang="de">Winter (de)</rdf:li>'
        '<rdf:li xml:lang="x-default">Winter</rdf:li></rdf:Alt></dc:title>'
        "<dc:subject><rdf:Bag><rdf:li>dog</rdf:li><rdf:li>snow</rdf:li></rdf:Bag></dc:subject>"
        "<dc:description>A dog</dc:description><exif:GPSLongitude>0,7.5W</exif:GPSLongitude>"
    )
    attributes = (
        'xmp:Rating="3" xmp:CreateDate="2020-01-02T03:04:05.06+09:00" tiff:Make="Apple" '
        'tiff:Model="iPhone 12" exif:GPSLatitude="51,30,36N"'
    )
    path = save(tmp_path / "a.jpg", xmp=xmp(attributes, elements))
    assert read_file_metadata(path) == {
        "taken": "2020-01-02T03:04:05",
        "camera": "Apple iPhone 12",
        "latitude": 51.51,
        "longitude": -0.125,
        "title": "Winter",
        "caption": "A dog",
        "keywords": ["dog", "snow"],
        "rating": 3,
    }


def test_programs_go_before_cameras_but_for_the_date(tmp_path: Path) -> None:
    packet = xmp(
        'xmp:Rating="2" xmp:CreateDate="1999-01-01"', "<dc:description>Mine</dc:description>"
    )
    path = save(tmp_path / "a.jpg", exif=FULL, xmp=packet)
    assert read_file_metadata(path) == {**EXPECTED, "rating": 2, "caption": "Mine"}


@pytest.mark.parametrize("name", ["a.jpg.xmp", "a.xmp"])
def test_a_file_beside_goes_first(name: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", exif=FULL, xmp=xmp('xmp:Rating="2"'))
    (tmp_path / name).write_bytes(xmp('xmp:Rating="1" exif:DateTimeOriginal="2021-07-15T00:00:00"'))
    assert find_sidecar(path) == tmp_path / name
    assert read_file_metadata(path) == {**EXPECTED, "rating": 1, "taken": "2021-07-15T00:00:00"}


def test_utf8_in_exif(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", exif=exif_of({0x010E: "Caf##"}))
    path.write_bytes(path.read_bytes().replace(b"Caf##", "Caf\u00e9".encode()))
    assert read_file_metadata(path) == {"caption": "Caf\u00e9"}


def test_windows_titles_and_keywords(tmp_path: Path) -> None:
    texts = {0x9C9B: "Fj\u00e4ll\0", 0x9C9E: "snow; dog;snow\0"}
    exif = exif_of({tag: text.encode("utf-16-le") for tag, text in texts.items()})
    assert read_file_metadata(save(tmp_path / "a.jpg", exif=exif)) == {
        "title": "Fj\u00e4ll",
        "keywords": ["snow", "dog"],
    }


@pytest.mark.parametrize(
    "caption", ["OLYMPUS DIGITAL CAMERA", "SONY DSC", "  ", "default", "Exif_JPEG_PICTURE", "DSC"]
)
def test_captions_that_cameras_write_are_none(caption: str, tmp_path: Path) -> None:
    assert read_file_metadata(save(tmp_path / "a.jpg", exif=exif_of({0x010E: caption}))) == {}


@pytest.mark.parametrize(
    ("base", "details", "date"),
    [
        ({0x0132: "2021:07:14 10:22:05"}, {}, None),  # when a program last wrote the file
        ({0x0132: "2021:07:14 10:22:05", 0x0110: "D90"}, {}, "2021-07-14T10:22:05"),
        ({}, {0x9003: "0000:00:00 00:00:00", 0x9004: "2021:07:14 10:22:06"}, "2021-07-14T10:22:06"),
        ({}, {0x9003: "    :  :     :  :  "}, None),
        ({}, {0x9003: "2021:02:30 10:00:00"}, None),
        ({}, {0x9003: "2021:07:14 25:00:00"}, None),
    ],
)
def test_dates_of_exif(
    base: dict[int, Any], details: dict[int, Any], date: str | None, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.jpg", exif=exif_of(base, details))
    assert read_file_metadata(path).get("taken") == date


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2021", "2021"), ("2021-07", "2021-07"), ("2021-07-14", "2021-07-14"),
        ("2021-07-14T10:22", "2021-07-14T10:22"), ("2021-07-14T10:22:05Z", "2021-07-14T10:22:05"),
        ("2021-07-14T10:22:05-05:00", "2021-07-14T10:22:05"), ("2021-7-14", None),
        ("20210714", None), ("2021-13", None), ("0000", None), ("yesterday", None), ("", None),
        (None, None), (7, None),
    ],
)  # fmt: skip
def test_dates_in_iso_form(text: object, date: str | None) -> None:
    assert read_date(text) == date


@pytest.mark.parametrize(
    "place",
    [
        {1: "N", 2: (91.0, 0.0, 0.0), 3: "E", 4: (1.0, 0.0, 0.0)},
        {1: "N", 2: (IFDRational(1, 0), 0.0, 0.0), 3: "E", 4: (1.0, 0.0, 0.0)},
        {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)},
        {1: "N", 2: (1.0, 0.0, 0.0)},
        {1: "X", 2: (1.0, 0.0, 0.0), 3: "E", 4: (1.0, 0.0, 0.0)},
        {2: (1.0, 0.0, 0.0), 4: (1.0, 0.0, 0.0)},
        {1: "N", 2: (1.0,) * 9, 3: "E", 4: (1.0, 0.0, 0.0)},
    ],
)
def test_places_that_are_none(place: dict[int, Any], tmp_path: Path) -> None:
    assert read_file_metadata(save(tmp_path / "a.jpg", exif=exif_of(place=place))) == {}


@pytest.mark.parametrize("rating", ["6", "-2", "4.5", "nan", "inf", "five", "", "1e400"])
def test_ratings_that_are_none(rating: str, tmp_path: Path) -> None:
    assert read_file_metadata(save(tmp_path / "a.jpg", xmp=xmp(f'xmp:Rating="{rating}"'))) == {}


def test_texts_lose_control_characters_and_are_bounded(tmp_path: Path) -> None:
    words = "".join(f"<rdf:li>w{number}</rdf:li>" for number in range(3000))
    elements = (
        f"<dc:description>a\tb\x7fc{'x' * 9000}</dc:description>"
        f"<dc:subject><rdf:Bag>{words}</rdf:Bag></dc:subject>"
    )
    read = read_file_metadata(save(tmp_path / "a.png", pnginfo=None))
    assert read == {}
    (tmp_path / "a.xmp").write_bytes(xmp(elements=elements))
    read = read_file_metadata(tmp_path / "a.png")
    caption, keywords = read["caption"], read["keywords"]
    assert isinstance(caption, str)
    assert (caption[:5], len(caption)) == ("a b c", 4096)
    assert keywords == [f"w{number}" for number in range(200)]


def test_a_text_that_ends_in_the_middle_of_a_line(tmp_path: Path) -> None:
    exif = exif_of({0x010E: "one\ntwo\x00three "})
    assert read_file_metadata(save(tmp_path / "a.jpg", exif=exif))["caption"] == "one two three"


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "packet",
    [
        b"", b"<", b"\xff\xfe<\0x\0", b"<x>" * 100_000, b"\0" * 1000,
        b"<x/>" + b" " * (1 << 21) + b"x",
        f'<!DOCTYPE x [<!ENTITY l0 "lol">{LAUGHS}]><x>&l9;</x>'.encode(),
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        b"<x>" * 200_000 + b"</x>" * 200_000,
    ],
    ids=["empty", "cut", "utf-16", "open", "nul", "large", "laughs", "file", "deep"],
)  # fmt: skip
def test_hostile_xmp_says_nothing_and_takes_no_time(packet: bytes) -> None:
    start = time.process_time()
    assert read_xmp(packet) == {}
    assert time.process_time() - start < 2


def test_damaged_exif_leaves_the_other_kinds(tmp_path: Path) -> None:
    path = save(
        tmp_path / "a.jpg",
        exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff broken",
        xmp=xmp('xmp:Rating="1"'),
    )
    assert read_file_metadata(path) == {"rating": 1}


def test_exif_whose_directories_point_at_themselves(tmp_path: Path) -> None:
    loop = struct.pack("<HHHLL", 1, 0x8769, 4, 1, 8) + struct.pack("<L", 8)
    path = save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0" + struct.pack("<L", 8) + loop)
    assert read_file_metadata(path) == {}


def test_cut_iptc(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "JPEG")
    cut = b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HHI", 0x0404, 0, 9) + b"\x1c\x02\x05\xff\xff"
    segment = b"\xff\xed" + struct.pack(">H", len(cut) + 2) + cut
    path = tmp_path / "a.jpg"
    path.write_bytes(content.getvalue()[:2] + segment + content.getvalue()[2:])
    assert read_file_metadata(path) == {}
