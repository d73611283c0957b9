import re

import pytest

from modalhash.benchmarking.printed import (
    OWN_PROTOCOLS,
    PRINTED,
    SETTINGS,
    PrintedTable,
    printed_numbers,
    printed_protocols,
    protocols_of,
)
from modalhash.data import PROTOCOLS

# Copied once more from the papers' tables in another form: image to text / text to image, a length.
COPIED = {
    ("djsrh", "mirflickr", "djsrh", 50): ".810/.786, .843/.822, .862/.835, .876/.847",
    ("cmfh", "mirflickr", "djsrh", 50): ".621/.642, .624/.662, .625/.676, .627/.685",
    ("dsah", "mirflickr", "djsrh", 50): ".863/.846, .877/.860, .895/.881, .903/.882",
    ("djsrh", "nuswide-10", "djsrh", 50): ".724/.712, .773/.744, .798/.771, .817/.789",
    ("dsah", "nuswide-10", "djsrh", 50): ".775/.770, .805/.790, .818/.804, .827/.815",
    ("djsrh", "wiki", "djsrh", 50): ".388/.611, .403/.635, .412/.646, .421/.658",
    ("ucch", "mirflickr", "ucch", None): ".739/.725, .744/.725, .754/.743, .760/.747",
    ("ucch", "iapr", "ucch", None): ".478/.474, .491/.488, .503/.503, .508/.508",
    ("ucch", "nuswide-10", "ucch", None): ".698/.701, .708/.724, .737/.745, .742/.750",
    ("ucch", "coco", "ucch", None): ".605/.610, .645/.655, .655/.666, .665/.677",
    ("djsrh", "mirflickr", "vtm-uch", None): ".641/.646, .655/.656, .677/.668, .682/.679",
    ("jdsh", "mirflickr", "vtm-uch", None): ".671/.674, .681/.675, .687/.682, .697/.695",
    ("dsah", "mirflickr", "vtm-uch", None): ".686/.683, .693/.696, .701/.708, .712/.715",
    ("cirh", "mirflickr", "vtm-uch", None): ".699/.699, .703/.709, .715/.721, .728/.734",
    ("vtm-uch", "mirflickr", "vtm-uch", None): ".743/.751, .754/.758, .751/.760, .754/.761",
    ("djsrh", "nuswide-21", "vtm-uch", None): ".513/.528, .514/.530, .534/.529, .554/.554",
    ("jdsh", "nuswide-21", "vtm-uch", None): ".552/.549, .561/.550, .590/.573, .588/.581",
    ("dsah", "nuswide-21", "vtm-uch", None): ".561/.576, .587/.589, .598/.614, .599/.633",
    ("cirh", "nuswide-21", "vtm-uch", None): ".573/.577, .601/.605, .610/.615, .621/.626",
    ("vtm-uch", "nuswide-21", "vtm-uch", None): ".616/.635, .633/.649, .639/.651, .631/.645",
}
COPIED_64 = {
    "djsrh": ".700/.683, .470/.467, .527/.538, .595/.604",
    "jdsh": ".741/.733, .478/.473, .679/.689, .647/.659",
    "dgcpn": ".737/.725, .486/.491, .635/.642, .602/.597",
    "ucch": ".754/.743, .503/.503, .737/.745, .655/.666",
    "cvh": ".594/.599, .366/.372, .456/.444, .471/.476",
    "lssh": ".606/.598, .396/.392, .450/.471, .542/.547",
    "cmfh": ".556/.553, .314/.306, .343/.306, .370/.346",
    "fsh": ".635/.635, .417/.425, .598/.651, .576/.564",
}
"""UCCH's table at 64 bits: MIRFlickr, IAPR TC-12, NUS-WIDE, COCO."""
OURS = ("cagan", "cfrh", "hugging-hash", "hugging-hash-plus", "ms2gah", "sgrn")


def both_ways(
    method: str, family: str, protocol: str, top_k: int | None, n_bits: int
) -> tuple[str, ...]:
    """Return the one printed number of each direction, as text."""
    found = []
    for direction in ("image_to_text", "text_to_image"):
        (one,) = printed_numbers(
            method, family, protocol, top_k=top_k, n_bits=n_bits, direction=direction
        )
        found.append(one.text)
    return tuple(found)


@pytest.mark.parametrize("case", COPIED, ids=lambda case: " ".join(map(str, case)))
def test_numbers_agree_with_a_second_copy(case: tuple[str, str, str, int | None]) -> None:
    cells = COPIED[case].split(", ")
    for n_bits, cell in zip((16, 32, 64, 128), cells, strict=True):
        assert both_ways(*case, n_bits) == tuple(cell.split("/"))


@pytest.mark.parametrize("method", COPIED_64)
def test_numbers_at_64_bits_agree_with_a_second_copy(method: str) -> None:
    families = ("mirflickr", "iapr", "nuswide-10", "coco")
    for family, cell in zip(families, COPIED_64[method].split(", "), strict=True):
        assert both_ways(method, family, "ucch", None, 64) == tuple(cell.split("/"))


@pytest.mark.parametrize("table", PRINTED, ids=lambda one: f"{one.protocol} {one.family}")
def test_a_table_is_whole(table: PrintedTable) -> None:
    protocol = PROTOCOLS[table.protocol]
    assert table.family in protocol.sizes
    assert table.top_k in protocol.top_k
    assert list(table.bits) == sorted(set(table.bits))
    for method, columns in table.rows.items():
        for column in columns:
            assert len(column.split()) == len(table.bits), method
            assert all(re.fullmatch(r"\.\d{3,4}", number) for number in column.split()), method


def test_two_papers_may_print_a_number_for_one_case() -> None:
    found = printed_numbers(
        "ssah", "mirflickr", "dcmh", top_k=None, n_bits=16, direction="image_to_text"
    )
    assert [(one.value, one.source[:4]) for one in found] == [(0.7709, "AGAH"), (0.782, "SSAH")]
    (noted,) = printed_numbers(
        "agah", "nuswide-21", "dcmh", top_k=None, n_bits=64, direction="text_to_image"
    )
    assert noted.text == ".6336"
    assert noted.source.endswith("; trained on 10,000 pairs, 500 fewer than the protocol's")


@pytest.mark.parametrize("method", OURS)
def test_what_nobody_could_read_is_not_there(method: str) -> None:
    assert not any(method in table.rows for table in PRINTED)
    assert protocols_of(method)  # yet it is known how it would be measured


def test_unknown_cases_are_empty() -> None:
    case = ("djsrh", "wiki", "djsrh")
    assert not printed_numbers(*case, top_k=50, n_bits=24, direction="image_to_text")
    assert not printed_numbers(*case, top_k=None, n_bits=16, direction="image_to_text")
    assert printed_protocols("djsrh", "iapr") == ["ucch"]
    assert printed_protocols("djsrh", "flickr8k") == []
    assert protocols_of("random") == []
    assert protocols_of("cvh") == ["djsrh", "ucch"]
    assert protocols_of("fsh") == ["ucch"]
    assert protocols_of("djsrh") == ["djsrh", "ucch", "vtm-uch"]


def test_every_protocol_says_what_papers_compute_on() -> None:
    assert set(SETTINGS) == set(PROTOCOLS)
    assert {name for own in OWN_PROTOCOLS.values() for name in own} <= set(PROTOCOLS)
