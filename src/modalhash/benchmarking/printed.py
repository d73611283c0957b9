"""Numbers that papers print, each with where it was read; what nobody could read is not here.

The numbers stand in `printed_numbers.json`: only what was read in a paper or on its authors' page.
MAP is printed under one name for several formulas, so a table says its protocol, which holds split
and formula, and its cut-off. Numbers of different protocols can't be compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from modalhash.files import read_json

__all__ = [
    "OWN_PROTOCOLS",
    "PRINTED",
    "SETTINGS",
    "Printed",
    "PrintedTable",
    "Setting",
    "printed_numbers",
    "printed_protocols",
    "protocols_of",
]

FILE, FORMAT = Path(__file__).with_name("printed_numbers.json"), 1
Rows = Mapping[str, tuple[str, str]]
"""Method to its numbers, image to text and text to image, one a length, as printed."""


@dataclass(frozen=True)
class PrintedTable:
    """A table of one paper, on one data set.

    Attributes:
        source: the paper or page, and where in it.
        protocol: a name of `PROTOCOLS`.
        family: data set, see `family_of`.
        top_k: the cut-off; None is the whole list.
        bits: lengths, one a number of each row.
        rows: the numbers.
        note: how its setting differs from the protocol's, or "".
    """

    source: str
    protocol: str
    family: str
    top_k: int | None
    bits: tuple[int, ...]
    rows: Rows
    note: str = ""


@dataclass(frozen=True)
class Printed:
    """One printed number.

    Attributes:
        text: as printed, ".388".
        source: where it was read, and how its setting differs from the protocol's.
    """

    text: str
    source: str

    @property
    def value(self) -> float:
        """The number."""
        return float(self.text)


@dataclass(frozen=True)
class Setting:
    """What a protocol's papers compute on, which frozen features stand in for here.

    Attributes:
        features: what the papers read.
        encoder: the nearest that makes such features here, from pictures and texts.
    """

    features: str
    encoder: str


def read_table(table: Mapping[str, Any]) -> PrintedTable:
    """Read one table of the file."""
    rows = {
        name: (row["image_to_text"], row["text_to_image"]) for name, row in table["rows"].items()
    }
    return PrintedTable(**{**table, "bits": tuple(table["bits"]), "rows": rows})


DOCUMENT: Final = read_json(FILE, kind="printed numbers", newest_format=FORMAT)
SETTINGS: Final[Mapping[str, Setting]] = {
    name: Setting(**setting) for name, setting in DOCUMENT["settings"].items()
}
"""Protocol to what its papers compute on."""
OWN_PROTOCOLS: Final[Mapping[str, tuple[str, ...]]] = {
    name: tuple(protocols) for name, protocols in DOCUMENT["own_protocols"].items()
}
"""Method to the protocols of its own paper or code, or (CFRH, HuggingHash, MS2GAH, SGRN: their
tables weren't readable) of the works that it follows."""
PRINTED: Final[tuple[PrintedTable, ...]] = tuple(map(read_table, DOCUMENT["tables"]))
"""Every printed number that was read. Of VTM-UCH's figure, the rows of CVH, IMH and CMFH are left
out: they are copies of MAP@50 numbers."""


def printed_numbers(
    method: str, family: str, protocol: str, *, top_k: int | None, n_bits: int, direction: str
) -> list[Printed]:
    """Look up what papers print for one case; empty where that isn't known.

    Example:
        >>> case = {"top_k": 50, "n_bits": 16, "direction": "image_to_text"}
        >>> printed_numbers("djsrh", "wiki", "djsrh", **case)[0].value
        0.388
        >>> printed_numbers("cfrh", "wiki", "djsrh", **case)
        []
    """
    column = ("image_to_text", "text_to_image").index(direction)
    return [
        Printed(
            table.rows[method][column].split()[table.bits.index(n_bits)],
            table.source + (f"; {table.note}" if table.note else ""),
        )
        for table in PRINTED
        if (table.family, table.protocol, table.top_k) == (family, protocol, top_k)
        and method in table.rows
        and n_bits in table.bits
    ]


def printed_protocols(method: str, family: str) -> list[str]:
    """List the protocols under which numbers of a method on a data set are known."""
    return list(
        dict.fromkeys(
            table.protocol for table in PRINTED if table.family == family and method in table.rows
        )
    )


def protocols_of(method: str) -> list[str]:
    """List the protocols a method was measured under, those of its own paper first."""
    printed = [table.protocol for table in PRINTED if method in table.rows]
    return list(dict.fromkeys([*OWN_PROTOCOLS.get(method, ()), *printed]))
