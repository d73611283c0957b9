"""The pictograms of Font Awesome Free, drawn from the font of the package `fontawesomefree`.

An item is an icon that has a category, drawn in the solid style, which all of them have; brand
logos are left out. Its texts, the best description first:

1. label and search terms: "Dog: animal, canine, fauna, mammal, pet, pooch, puppy, woof";
2. the label: "Dog";
3. the search terms that aren't the label: "animal, canine, fauna, ...", where there are any.

Labels are the package's 68 categories. About 15 % of the icons are test and 7 % dev, by a hash of
the icon's name, so that an icon stays where it is in other releases of the package.

The icons are CC BY 4.0 and the font is SIL OFL 1.1, by Fonticons, Inc. (https://fontawesome.com).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from modalhash.data.collection import Collection
from modalhash.data.reading import Reading
from modalhash.data.splits import stable_fraction
from modalhash.errors import Defect
from modalhash.extras import import_optional
from modalhash.files import sha256_of_file

__all__ = ["IconPictures", "draw_glyph", "read_icons"]

_SIDE: Final = 224
_FONT_SIZE: Final = 150
"""Pixels an em: the widest glyphs are 1.25 em, 188 of 224 pixels."""
_DRAWING: Final = 1
"""Number of the way glyphs are drawn; a change to it changes every picture's stamp."""
_TEST_SHARE: Final = 0.15
_DEV_SHARE: Final = 0.07
_CATEGORY: Final = re.compile(r"(\S+):|  icons:|    - (\S+)|  label: (.+)")


def draw_glyph(font: ImageFont.FreeTypeFont, codepoint: int) -> Image.Image:
    """Draw a glyph black on white, its ink in the middle: RGB, 224 x 224."""
    ink = Image.new("L", (2 * _SIDE, 2 * _SIDE), 0)
    ImageDraw.Draw(ink).text((_SIDE, _SIDE), chr(codepoint), 255, font, anchor="mm")
    left, top, right, bottom = ink.getbbox() or (_SIDE, _SIDE, _SIDE, _SIDE)
    corner = ((left + right - _SIDE) // 2, (top + bottom - _SIDE) // 2)
    middle = ink.crop((*corner, corner[0] + _SIDE, corner[1] + _SIDE))
    return ImageOps.invert(middle).convert("RGB")


@dataclass(frozen=True)
class IconPictures:
    """Glyphs, drawn when asked for; see `Pictures`.

    Attributes:
        font_path: the font.
        codepoints: the glyph of each item.
    """

    font_path: Path
    codepoints: tuple[int, ...]

    @cached_property
    def _font(self) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(
            str(self.font_path), _FONT_SIZE, layout_engine=ImageFont.Layout.BASIC
        )

    @cached_property
    def _font_digest(self) -> str:
        return sha256_of_file(self.font_path)

    def open(self, position: int) -> Image.Image:
        """Draw the picture."""
        with _ONE_AT_A_TIME:
            return draw_glyph(self._font, self.codepoints[position])

    def stamp(self, position: int) -> str:
        """Describe what the picture is drawn from."""
        return f"icon {_DRAWING}:{self._font_digest}:{self.codepoints[position]:x}"

    def digest(self, position: int) -> str:
        """Compute a SHA-256 of what the picture is drawn from."""
        return hashlib.sha256(self.stamp(position).encode()).hexdigest()

    def path(self, position: int) -> None:
        """Answer None: there is no file."""


_ONE_AT_A_TIME: Final = Lock()
"""FreeType's faces may not be used by two threads at a time."""


def read_icons(argument: str, *, split_seed: int) -> Reading:  # noqa: ARG001 - fixed splits
    """Read the icons of the installed package; see `SourceReader`.

    Raises:
        MissingExtraError: if `fontawesomefree` isn't installed.
    """
    package = import_optional("fontawesomefree", extra="icons", feature="the collection 'icons'")
    folder = Path(str(package.__file__)).parent / "static" / "fontawesomefree"
    font_path = folder / "webfonts" / "fa-solid-900.ttf"
    try:
        stored = json.loads((folder / "metadata" / "icons.json").read_text(encoding="utf-8"))
        categories = _read_categories(folder / "metadata" / "categories.yml")
        font_path.open("rb").close()
    except (OSError, ValueError) as error:
        problem = f"can't be read ({error}); install 'modalhash[icons]' again"
        return Reading(None, (Defect("unreadable-file", str(folder), problem),))
    members = {icon for icons in categories.values() for icon in icons}
    icons: dict[str, dict[str, Any]] = {
        name: icon
        for name, icon in stored.items()
        if name in members and "solid" in icon["free"] and "brands" not in icon["free"]
    }
    texts = [_texts(icon) for icon in icons.values()]
    labels = [[name in own for own in categories.values()] for name in icons]
    drawn = np.array([stable_fraction(f"icon:{name}") for name in icons])
    collection = Collection(
        name="icons",
        item_ids=tuple(icons),
        caption_ids=tuple(
            f"{name}#{number}"
            for name, own in zip(icons, texts, strict=True)
            for number in range(len(own))
        ),
        caption_items=np.repeat(np.arange(len(icons), dtype=np.int64), [len(own) for own in texts]),
        captions=tuple(text for own in texts for text in own),
        pictures=IconPictures(
            font_path, tuple(int(icon["unicode"], 16) for icon in icons.values())
        ),
        labels=np.array(labels, np.uint8),
        label_names=tuple(categories),
        metadata={
            "label": tuple(icon["label"] for icon in icons.values()),
            "unicode": tuple(icon["unicode"] for icon in icons.values()),
            "since": tuple(icon["changes"][0] for icon in icons.values()),
            "has_outline": tuple("regular" in icon["free"] for icon in icons.values()),
        },
        splits={
            "train": np.flatnonzero(drawn >= _TEST_SHARE + _DEV_SHARE),
            "dev": np.flatnonzero((drawn >= _TEST_SHARE) & (drawn < _TEST_SHARE + _DEV_SHARE)),
            "test": np.flatnonzero(drawn < _TEST_SHARE),
        },
        source="icons",
        split_note="fixed: by a hash of each icon's name, about 78/7/15",
    )
    return Reading(collection)


def _texts(icon: Mapping[str, Any]) -> list[str]:
    label = str(icon["label"])
    terms = [str(term) for term in icon["search"]["terms"]]
    others = ", ".join(term for term in terms if term.casefold() != label.casefold())
    return [f"{label}: {others}", label, others] if others else [label]


def _read_categories(path: Path) -> dict[str, set[str]]:
    """Read `categories.yml`, a list of icons under each category, and nothing else of YAML.

    Returns:
        Category's label to the names of its icons, in the order of the file.

    Raises:
        ValueError: if a line is of another form.
    """
    categories: dict[str, set[str]] = {}
    icons: set[str] = set()
    for line in path.read_text(encoding="utf-8").splitlines():
        match = _CATEGORY.fullmatch(line)
        if match is None:
            raise ValueError(f"{path.name} has an unexpected line {line!r}")
        category, icon, label = match.groups()
        if category:
            icons = set()
        elif icon:
            icons.add(icon.strip("'"))
        elif label:
            categories[label] = icons
    return categories
