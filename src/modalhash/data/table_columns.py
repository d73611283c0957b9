"""Which columns of a table hold what: the usual names, and those that a user gives.

A user gives them after a `#` behind the collection, or with `--columns`::

    table:laion.csv#image=URL_LOCAL,caption=TEXT
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Final

from modalhash.data.table_formats import SEPARATORS, folded_column
from modalhash.errors import InputError, UnknownNameError

__all__ = [
    "LIKELY_COLUMNS",
    "ColumnRoles",
    "GivenColumns",
    "divide_source",
    "find_column",
    "find_roles",
    "read_columns",
]

ROLES: Final = ("image", "caption", "id", "caption_id", "split", "label")
"""What a column may hold. `caption` and `label` may be several columns."""
_OPTIONS: Final = ("images", "separator", "encoding")
"""What may be given beside columns."""
_USUAL: Final[Mapping[str, tuple[str, ...]]] = {
    "image": (
        "image", "filename", "imagefilename", "imagename", "imagepath", "imgpath", "imgname",
        "imagefile", "imgfile", "img", "picture", "photo", "filepath", "file", "path", "jpg",
        "jpeg", "png", "webp", "images", "imageid", "imgid",
    ),
    "caption": (
        "caption", "captions", "text", "texts", "sentence", "sentences", "comment", "comments",
        "description", "descriptions", "alttext", "alt", "imagecaption", "captiontext",
        "textcaption", "imagedescription", "captionen", "prompt", "txt", "title", "raw",
    ),
    "id": ("id", "key", "itemid", "imageid", "imgid", "filename", "sampleid"),
    "caption_id": ("captionid", "sentid", "textid"),
    "split": ("split", "subset", "partition"),
    "label": ("label", "labels"),
}  # fmt: skip
LIKELY_COLUMNS: Final = frozenset(name for names in _USUAL.values() for name in names)
"""Folded names under which a table's columns are recognised."""
_NUMBERED: Final = re.compile(r"(caption|text|sentence|comment|description)\d+")
_SUFFIX: Final = re.compile(rf"#(?=(?:{'|'.join((*ROLES, *_OPTIONS))})=)(?P<columns>[^#]*)$")


@dataclass(frozen=True)
class GivenColumns:
    """What a user says of a table.

    Attributes:
        columns: role to the columns that have it.
        images: the folder of the pictures; "" to look for it.
        separator: between two values; None to find it.
        encoding: of the text; None to find it.
    """

    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    images: str = ""
    separator: str | None = None
    encoding: str | None = None

    @property
    def likely_columns(self) -> frozenset[str]:
        """Folded names of columns that the table should have."""
        return frozenset(folded_column(name) for names in self.columns.values() for name in names)


@dataclass(frozen=True)
class ColumnRoles:
    """The columns of one table by what they hold.

    Attributes:
        image: the column of pictures.
        captions: the columns of texts; empty if there are none.
        id: the column of item ids; None if pictures are named by their files.
        caption_id: the column of caption ids, or None.
        split: the column that names splits, or None.
        labels: the columns of labels.
    """

    image: str
    captions: tuple[str, ...] = ()
    id: str | None = None
    caption_id: str | None = None
    split: str | None = None
    labels: tuple[str, ...] = ()

    @property
    def used(self) -> frozenset[str]:
        """Columns that are no metadata."""
        single = {self.image, self.id, self.caption_id, self.split} - {None}
        return frozenset([*(name for name in single if name), *self.captions, *self.labels])


def divide_source(argument: str) -> tuple[str, GivenColumns]:
    """Divide what names a table into its path and what the user says of its columns.

    Raises:
        InputError: if a part isn't ROLE=NAME, or a role comes twice that may come once.
        UnknownNameError: if there is no such role.

    Example:
        >>> path, given = divide_source("laion.csv#image=URL_LOCAL,caption=TEXT")
        >>> path, dict(given.columns)
        ('laion.csv', {'image': ('URL_LOCAL',), 'caption': ('TEXT',)})
    """
    match = _SUFFIX.search(argument)
    if match is None:
        return argument, GivenColumns()
    return argument[: match.start()], read_columns(match["columns"])


def read_columns(text: str) -> GivenColumns:
    """Read `image=URL_LOCAL,caption=TEXT`; see `divide_source`.

    A comma that no `ROLE=` follows belongs to the column's name.
    """
    columns: dict[str, tuple[str, ...]] = {}
    options: dict[str, str] = {}
    for part in re.split(r",(?=\s*\w+=)", text):
        role, equals, name = part.strip().partition("=")
        role = role.strip()
        if not equals or not name:
            raise InputError(f"columns: {part!r} isn't ROLE=NAME, such as image=URL_LOCAL")
        if role not in (*ROLES, *_OPTIONS):
            raise UnknownNameError("role of a column", role, [*ROLES, *_OPTIONS])
        if role in options or (role in columns and role not in ("caption", "label")):
            raise InputError(f"columns: {role} comes twice; only caption and label may")
        if role in _OPTIONS:
            options[role] = name
        else:
            columns[role] = (*columns.get(role, ()), name)
    separator = options.get("separator")
    if separator is not None:
        separator = SEPARATORS.get(separator, "\t" if separator == r"\t" else separator)
        if len(separator) != 1:
            raise UnknownNameError("separator", separator, list(SEPARATORS))
    return GivenColumns(columns, options.get("images", ""), separator, options.get("encoding"))


def find_roles(
    header: Sequence[str], given_columns: GivenColumns, pictures: Sequence[str] = ()
) -> ColumnRoles:
    """Decide which columns hold pictures, texts, ids, splits and labels.

    Args:
        header: the columns that are there.
        given_columns: what the user states; the rest is found by the usual names, in any case.
        pictures: columns that are known to hold picture files.

    Raises:
        InputError: if there is no column of pictures, or a given column isn't there.
    """
    by_name = {folded_column(name): name for name in reversed(header)}
    chosen = {role: _match_columns(header, names) for role, names in given_columns.columns.items()}
    used = {name for names in chosen.values() for name in names}

    def usual(role: str) -> tuple[str, ...]:
        if role in chosen:
            return chosen[role]
        names = [by_name[name] for name in _USUAL[role] if name in by_name]
        return tuple(name for name in names if name not in used)[:1]

    image = chosen.get("image") or _usual_pictures(usual("image"), pictures)
    if not image:
        names = ", ".join(map(repr, header)) or "nothing"
        raise InputError(
            f"no column of pictures is recognised among {names}: name it, such as "
            f"--columns image={header[0] if header else 'FILE'},caption=TEXT"
        )
    used |= set(image)
    captions = chosen.get("caption") or _usual_captions(header, usual("caption"))
    captions = tuple(name for name in captions if name not in image)
    item_id = usual("id") if image[0] in pictures or "id" in chosen else ()
    single = {role: (usual(role) or (None,))[0] for role in ("caption_id", "split")}
    return ColumnRoles(image[0], captions, (item_id or (None,))[0], labels=usual("label"), **single)


def find_column(header: Sequence[str], role: str) -> str | None:
    """Find the column that a role's name means: spelt so, in any case, or by its usual names.

    Example:
        >>> find_column(["File_Name", "Title"], "image"), find_column(["Image"], "image")
        ('File_Name', 'Image')
        >>> find_column(["dog", "cat"], "image")
    """
    by_name = {folded_column(name): name for name in reversed(header)}
    usual = (folded_column(role), *_USUAL.get(role, ()))
    names = [role] if role in header else [by_name[name] for name in usual if name in by_name]
    return next(iter(names), None)


def _usual_pictures(usual: tuple[str, ...], pictures: Sequence[str]) -> tuple[str, ...]:
    """Prefer the one column that holds picture files to those that are named like one."""
    if usual and usual[0] in pictures:
        return usual
    return tuple(pictures[:1]) or usual


def _usual_captions(header: Sequence[str], usual: tuple[str, ...]) -> tuple[str, ...]:
    """Find the column of texts, or those that are numbered ("caption_0", "caption_1", ...)."""
    numbered = [name for name in header if _NUMBERED.fullmatch(folded_column(name))]
    return usual if usual or len(numbered) < 2 else tuple(numbered)


def _match_columns(header: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Convert the names of columns to the spelling of the table.

    Raises:
        InputError: if one isn't there.
    """
    by_name = {folded_column(name): name for name in reversed(header)}
    columns = []
    for name in names:
        column = name if name in header else by_name.get(folded_column(name))
        if column is None:
            close = get_close_matches(name, header, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            present = ", ".join(map(repr, header)) or "nothing"
            raise InputError(f"the table has no column {name!r}, only {present}{hint}")
        columns.append(column)
    return tuple(columns)
