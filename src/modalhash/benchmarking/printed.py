"""Numbers that papers print, each with where it was read; what nobody could read is not here.

Only what was read in a paper or on its authors' page is in these tables. MAP is printed under one
name for several formulas, so a table says its protocol, which holds split and formula, and its
cut-off. Numbers of different protocols can't be compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

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


SETTINGS: Final[Mapping[str, Setting]] = {
    "cagan": Setting("CLIP ViT-B/32 for pictures, bags of words for texts", "clip+bow"),
    "dchmt": Setting("CLIP ViT-B/32, tuned with the hash functions", "clip"),
    "dcmh": Setting(
        "pictures by a CNN (CNN-F in the tables known here) tuned with the hash functions, bags "
        "of words for texts",
        "offline+bow",
    ),
    "djsrh": Setting(
        "pictures by a CNN (DJSRH: AlexNet, tuned with the hash functions; CFRH: CLIP ViT-B/32), "
        "bags of words for texts (Wiki: 10 topics)",
        "offline+bow",
    ),
    "official": Setting("the features or files that the authors passed on", "offline"),
    "ucch": Setting(
        "fixed VGG-19 features of pictures (CNN-F on IAPR TC-12), bags of words for texts "
        "(COCO: 300-d Doc2Vec)",
        "offline+bow",
    ),
    "vtm-uch": Setting(
        "CLIP ViT-B/32; which rows were run anew on it the paper's figure doesn't say", "clip"
    ),
    "wiki-dgcpn": Setting("fixed VGG-19 features of pictures, topics of texts", "offline+bow"),
}
"""Protocol to what its papers compute on."""

OWN_PROTOCOLS: Final[Mapping[str, tuple[str, ...]]] = {
    "agah": ("dcmh",),
    "cagan": ("cagan",),
    "cfrh": ("djsrh", "cagan"),
    "cirh": ("djsrh", "official"),
    "dchmt": ("dchmt",),
    "dcmh": ("dcmh",),
    "dgcpn": ("djsrh", "wiki-dgcpn"),
    "djsrh": ("djsrh",),
    "dsah": ("djsrh",),
    "gch": ("dcmh",),
    "hugging-hash": ("ucch", "djsrh"),
    "hugging-hash-plus": ("ucch", "djsrh"),
    "jdsh": ("djsrh",),
    "ms2gah": ("dcmh",),
    "sgrn": ("djsrh",),
    "ssah": ("dcmh",),
    "ucch": ("ucch",),
    "ucmfh": ("djsrh", "official"),
}
"""Method to the protocols of its own paper or code, or (CFRH, HuggingHash, MS2GAH, SGRN: their
tables weren't readable) of the works that it follows."""

ALL_LENGTHS: Final = (16, 32, 64, 128)
DJSRH_PAGE: Final = "DJSRH (ICCV 2019), table on the authors' project page"
CCAH_TABLE: Final = "CCAH (International Journal of Intelligent Systems 2023), table 1"
UCCH_TABLE: Final = "UCCH (TPAMI 2023), table in the paper and on the authors' project page"
VTM_UCH_TABLE: Final = "VTM-UCH (AAAI 2025), figure of results on the authors' project page"
AGAH_TABLE: Final = "AGAH (ICMR 2019), table of results"
SSAH_TABLE: Final = "SSAH (CVPR 2018), table of results"


def map_at_50(source: str, family: str, rows: Rows) -> PrintedTable:
    """Return a table of DJSRH's line."""
    return PrintedTable(source, "djsrh", family, 50, ALL_LENGTHS, rows)


def whole_list(source: str, protocol: str, family: str, rows: Rows) -> PrintedTable:
    """Return a table of MAP over the whole list, four lengths."""
    return PrintedTable(source, protocol, family, None, ALL_LENGTHS, rows)


PRINTED: Final[tuple[PrintedTable, ...]] = (
    map_at_50(
        DJSRH_PAGE,
        "mirflickr",
        {
            "cmfh": (".621 .624 .625 .627", ".642 .662 .676 .685"),
            "cvh": (".606 .599 .596 .598", ".591 .583 .576 .576"),
            "djsrh": (".810 .843 .862 .876", ".786 .822 .835 .847"),
            "imh": (".612 .601 .592 .579", ".603 .595 .589 .580"),
            "lssh": (".584 .599 .602 .614", ".637 .659 .659 .672"),
        },
    ),
    map_at_50(
        DJSRH_PAGE,
        "nuswide-10",
        {
            "cmfh": (".455 .459 .465 .467", ".529 .577 .614 .645"),
            "cvh": (".372 .362 .406 .390", ".401 .384 .442 .432"),
            "djsrh": (".724 .773 .798 .817", ".712 .744 .771 .789"),
            "imh": (".470 .473 .476 .459", ".478 .483 .472 .462"),
            "lssh": (".481 .489 .507 .507", ".577 .617 .642 .663"),
        },
    ),
    map_at_50(
        DJSRH_PAGE,
        "wiki",
        {
            "cmfh": (".251 .253 .259 .263", ".595 .601 .616 .622"),
            "cvh": (".179 .162 .153 .149", ".252 .235 .171 .154"),
            "djsrh": (".388 .403 .412 .421", ".611 .635 .646 .658"),
            "imh": (".201 .203 .204 .195", ".467 .478 .453 .456"),
            "lssh": (".197 .208 .199 .195", ".569 .593 .593 .595"),
        },
    ),
    map_at_50(
        CCAH_TABLE,
        "mirflickr",
        {"dsah": (".863 .877 .895 .903", ".846 .860 .881 .882")},
    ),
    map_at_50(
        CCAH_TABLE,
        "nuswide-10",
        {"dsah": (".775 .805 .818 .827", ".770 .790 .804 .815")},
    ),
    whole_list(
        UCCH_TABLE,
        "ucch",
        "mirflickr",
        {
            "dgcpn": (".711 .723 .737 .748", ".695 .707 .725 .731"),
            "djsrh": (".652 .697 .700 .716", ".662 .691 .683 .695"),
            "jdsh": (".724 .734 .741 .745", ".710 .720 .733 .720"),
            "ucch": (".739 .744 .754 .760", ".725 .725 .743 .747"),
        },
    ),
    whole_list(
        UCCH_TABLE,
        "ucch",
        "iapr",
        {
            "dgcpn": (".465 .485 .486 .495", ".467 .488 .491 .497"),
            "djsrh": (".409 .412 .470 .480", ".418 .436 .467 .478"),
            "jdsh": (".449 .472 .478 .484", ".447 .477 .473 .486"),
            "ucch": (".478 .491 .503 .508", ".474 .488 .503 .508"),
        },
    ),
    whole_list(
        UCCH_TABLE,
        "ucch",
        "nuswide-10",
        {
            "dgcpn": (".610 .614 .635 .641", ".617 .621 .642 .647"),
            "djsrh": (".502 .538 .527 .556", ".465 .532 .538 .545"),
            "jdsh": (".647 .656 .679 .680", ".649 .669 .689 .699"),
            "ucch": (".698 .708 .737 .742", ".701 .724 .745 .750"),
        },
    ),
    whole_list(
        UCCH_TABLE,
        "ucch",
        "coco",
        {
            "dgcpn": (".552 .590 .602 .596", ".564 .590 .597 .597"),
            "djsrh": (".501 .563 .595 .615", ".494 .569 .604 .622"),
            "jdsh": (".579 .628 .647 .662", ".578 .634 .659 .672"),
            "ucch": (".605 .645 .655 .665", ".610 .655 .666 .677"),
        },
    ),
    # The figure's rows of CVH, IMH and CMFH are copies of MAP@50 numbers, so they aren't here.
    whole_list(
        VTM_UCH_TABLE,
        "vtm-uch",
        "mirflickr",
        {
            "cirh": (".699 .703 .715 .728", ".699 .709 .721 .734"),
            "djsrh": (".641 .655 .677 .682", ".646 .656 .668 .679"),
            "dsah": (".686 .693 .701 .712", ".683 .696 .708 .715"),
            "jdsh": (".671 .681 .687 .697", ".674 .675 .682 .695"),
        },
    ),
    whole_list(
        VTM_UCH_TABLE,
        "vtm-uch",
        "nuswide-21",
        {
            "cirh": (".573 .601 .610 .621", ".577 .605 .615 .626"),
            "djsrh": (".513 .514 .534 .554", ".528 .530 .529 .554"),
            "dsah": (".561 .587 .598 .599", ".576 .589 .614 .633"),
            "jdsh": (".552 .561 .590 .588", ".549 .550 .573 .581"),
        },
    ),
    PrintedTable(
        AGAH_TABLE,
        "dcmh",
        "mirflickr",
        None,
        (16, 32, 64),
        {
            "agah": (".7923 .7945 .8069", ".7887 .7904 .8049"),
            "dcmh": (".7201 .7287 .7418", ".7533 .7593 .7730"),
            "ssah": (".7709 .7840 .7924", ".7681 .7737 .7838"),
        },
    ),
    PrintedTable(
        AGAH_TABLE,
        "dcmh",
        "nuswide-21",
        None,
        (16, 32, 64),
        {
            "agah": (".6455 .6600 .6512", ".6313 .6422 .6336"),
            "dcmh": (".5657 .6007 .6001", ".5336 .5871 .5916"),
            "ssah": (".6020 .6219 .6463", ".6123 .6369 .6398"),
        },
        note="trained on 10,000 pairs, 500 fewer than the protocol's",
    ),
    # Which concepts of NUS-WIDE and which part of COCO SSAH's own table means isn't known here.
    PrintedTable(
        SSAH_TABLE,
        "dcmh",
        "mirflickr",
        None,
        (16, 32, 64),
        {"ssah": (".782 .790 .800", ".791 .795 .803")},
    ),
)
"""Every printed number that was read."""


def printed_numbers(
    method: str, family: str, protocol: str, *, top_k: int | None, n_bits: int, direction: str
) -> list[Printed]:
    """Return what papers print for one case; empty where that isn't known.

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
    """Return the protocols under which numbers of a method on a data set are known."""
    return list(
        dict.fromkeys(
            table.protocol for table in PRINTED if table.family == family and method in table.rows
        )
    )


def protocols_of(method: str) -> list[str]:
    """Return the protocols a method was measured under, those of its own paper first."""
    printed = [table.protocol for table in PRINTED if method in table.rows]
    return list(dict.fromkeys([*OWN_PROTOCOLS.get(method, ()), *printed]))
