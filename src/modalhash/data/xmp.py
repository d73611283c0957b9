"""XMP, the metadata that photo programs write as XML, into picture files and files beside them.

The XML is of unknown origin. Packets of more than a mebibyte and those with a document type, which
could define entities that expand without end, aren't read.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from modalhash.files import open_regular_file

__all__ = ["SidecarListing", "find_sidecar", "read_sidecar", "read_xmp"]

LARGEST: Final = 1 << 20
MOST_VALUES: Final = 1000
RDF: Final = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
NAMES: Final[Mapping[str, str]] = {
    "{http://purl.org/dc/elements/1.1/}title": "title",
    "{http://purl.org/dc/elements/1.1/}description": "caption",
    "{http://purl.org/dc/elements/1.1/}subject": "keywords",
    "{http://ns.adobe.com/xap/1.0/}Rating": "rating",
    "{http://ns.adobe.com/xap/1.0/}CreateDate": "created",
    "{http://ns.adobe.com/photoshop/1.0/}DateCreated": "dated",
    "{http://ns.adobe.com/exif/1.0/}DateTimeOriginal": "taken",
    "{http://ns.adobe.com/exif/1.0/}GPSLatitude": "latitude",
    "{http://ns.adobe.com/exif/1.0/}GPSLongitude": "longitude",
    "{http://ns.adobe.com/tiff/1.0/}Make": "make",
    "{http://ns.adobe.com/tiff/1.0/}Model": "model",
}
"""What is read, and what it is called here."""
DOCUMENT_TYPE: Final = re.compile("<!(DOCTYPE|ENTITY)", re.IGNORECASE)


def read_xmp(packet: bytes) -> dict[str, list[str]]:
    """Read the properties of an XMP packet; what can't be read has none.

    Args:
        packet: the XML, UTF-8.

    Returns:
        Names, as the values of `NAMES`, to their texts; of a text in several languages, that of the
        default language comes first.

    Example:
        >>> read_xmp(
        ...     b'<x xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
        ...     b' xmlns:xmp="http://ns.adobe.com/xap/1.0/"><r:Description xmp:Rating="4"/></x>'
        ... )
        {'rating': ['4']}
    """
    content = packet.strip(b"\0 \t\r\n")
    if len(content) > LARGEST:
        return {}
    try:
        text = content.decode("utf-8-sig")
        if DOCUMENT_TYPE.search(text):
            return {}
        # Neither entities nor a document type are left in the text, and its size is bounded.
        root = ET.fromstring(text)  # noqa: S314
    except (UnicodeDecodeError, ET.ParseError, ValueError):
        return {}
    properties: dict[str, list[str]] = {}
    for description in root.iter(f"{RDF}Description"):
        for tag, values in list_properties(description):
            if tag in NAMES and values:
                properties.setdefault(NAMES[tag], values[:MOST_VALUES])
    return properties


def list_properties(description: ET.Element) -> Iterator[tuple[str, list[str]]]:
    """Yield the properties of a description: its attributes, and the elements in it."""
    for name, value in description.attrib.items():
        yield name, [value]
    for element in description:
        entries = [entry for group in element for entry in group.findall(f"{RDF}li")]
        if not entries:
            yield element.tag, [element.text or ""]
            continue
        language = "{http://www.w3.org/XML/1998/namespace}lang"
        entries.sort(key=lambda entry: entry.get(language) not in (None, "x-default"))
        yield element.tag, [entry.text or "" for entry in entries]


def find_sidecar(picture: Path) -> Path | None:
    """Find the XMP file beside a picture: `a.jpg.xmp` or `a.xmp`; None if there is none."""
    candidates = (picture.with_name(f"{picture.name}.xmp"), picture.with_suffix(".xmp"))
    return next((path for path in candidates if path.is_file()), None)


class SidecarListing:
    """The XMP files of folders, each of which is listed once: quicker for many pictures."""

    def __init__(self) -> None:
        self._names: dict[Path, frozenset[str]] = {}

    def find(self, picture: Path) -> Path | None:
        """Find the XMP file beside a picture as `find_sidecar` does."""
        folder = picture.parent
        if folder not in self._names:
            try:
                names = [path.name for path in folder.glob("*.xmp")]
            except OSError:
                names = []
            self._names[folder] = frozenset(names)
        return find_sidecar(picture) if self._names[folder] else None


def read_sidecar(path: Path) -> dict[str, list[str]]:
    """Read the properties of an XMP file; what can't be read has none."""
    try:
        with open_regular_file(path) as file:
            return read_xmp(file.read(LARGEST + 1))
    except OSError:
        return {}
