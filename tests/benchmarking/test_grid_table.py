import csv
import io
from dataclasses import replace

import pytest

from modalhash.benchmarking.grid_table import ablation_table, cost_table, grid_table
from modalhash.benchmarking.outcomes import MEASURES, Outcome, csv_text, read_csv
from modalhash.errors import InputError

NAMES = [f"{title} {way}" for title, *_ in MEASURES for way in ("image_to_text", "text_to_image")]


def outcome(
    row: str, seed: int, value: float, *, n_bits: int = 16, seconds: float = 2.0
) -> Outcome:
    return Outcome(row, "photos test", 16, seed, dict.fromkeys(NAMES, value), seconds, 16)


def test_rows_hold_means_and_deviations_over_seeds() -> None:
    failed = Outcome("graph", "photos test", 16, 0, {}, error="no labels")
    text = grid_table(
        [outcome("a", 0, 0.1), outcome("a", 1, 0.3, seconds=4.0), failed, outcome("b", 0, 0.5)]
    )
    lines = text.splitlines()
    assert lines[0] == "## photos test"
    assert lines[2].startswith(
        "| method | bits | scoring | MAP@50, shared label I→T | MAP@50, shared label T→I |"
    )
    # mean of .1 and .3 is .2, each .1 away; (2 + 4) / 2 CPU seconds
    assert lines[4] == "| a | 16 | hamming | " + " | ".join(["0.200 ± 0.100"] * 6) + " | 3 |"
    assert lines[5] == "| graph | 16 | hamming | no labels |" + "  |" * 6
    assert lines[6] == "| b | 16 | hamming | " + " | ".join(["0.500"] * 6) + " | 2 |"
    assert "- graph: 1 run failed: no labels" in lines


def test_differences_are_paired_by_seed() -> None:
    text = ablation_table(
        [
            outcome("whole", 0, 0.5), outcome("whole", 1, 0.7),
            outcome("without x", 0, 0.4), outcome("without x", 1, 0.4),
            outcome("without y", 1, 0.75),
        ]
    )  # fmt: skip
    lines = text.splitlines()
    assert lines[4] == "| whole | 16 | hamming | " + " | ".join(["0.600 ± 0.100"] * 6) + " |"
    # -.1 and -.3
    assert lines[5] == "| without x | 16 | hamming | " + " | ".join(["-0.200 ± 0.100"] * 6) + " |"
    assert lines[6] == "| without y | 16 | hamming | " + " | ".join(["+0.050"] * 6) + " |"


def test_a_row_with_collapsed_codes_is_marked_in_every_table() -> None:
    collapsed = replace(outcome("b", 1, 0.2), constant_share=0.75)
    at_the_limit = replace(outcome("a", 0, 0.5), constant_share=0.25)
    runs = [at_the_limit, outcome("b", 0, 0.5), collapsed]
    for text in (grid_table(runs), ablation_table([at_the_limit, collapsed, outcome("b", 0, 0.5)])):
        assert "| a | 16 |" in text
        assert "| b † | 16 |" in text
        assert text.splitlines()[-1] == (
            "† collapsed: more than 25% of the bits are the same in all codes of a modality, so "
            "these numbers say nothing of the method: b at 16 bits, seed 1 (75% of the bits)."
        )
    assert read_csv(csv_text([collapsed]))[0].constant_share == 0.75
    assert "†" not in grid_table([at_the_limit])


def test_a_collection_without_labels_has_pair_measures_only() -> None:
    pairs = {name: 0.25 for name in NAMES if "pair" in name}
    line = grid_table([Outcome("a", "photos test", 8, 0, pairs)]).splitlines()[4]
    assert line == "| a | 8 | hamming | - | - | - | - | 0.250 | 0.250 | 0 |"


def test_every_number_is_in_the_csv() -> None:
    failed = Outcome("b, odd", "photos test", 16, 0, {}, error="no, none")
    rows = list(csv.reader(io.StringIO(csv_text([outcome("a", 4, 0.5), failed]))))
    assert rows[0] == [
        "collection",
        "method",
        "bits",
        "seed",
        "scoring",
        "measure",
        "direction",
        "value",
        "error",
    ]
    assert rows[1] == [
        "photos test",
        "a",
        "16",
        "4",
        "hamming",
        "MAP@50, shared label",
        "image_to_text",
        "0.5",
        "",
    ]
    assert rows[-1] == ["photos test", "b, odd", "16", "0", "hamming", "", "", "", "no, none"]
    assert len(rows) == 1 + len(NAMES) + 5 + 1


def test_costs_are_means_over_seeds() -> None:
    first = Outcome("a", "photos test", 16, 0, {}, 62.0, 24, "", 100.0, 1500, {"image": 10.0})
    other = Outcome("a", "photos test", 16, 1, {}, 64.0, 24, "", 300.0, 1500, {"image": 30.0})
    failed = Outcome("b", "photos test", 16, 0, {}, error="no labels")
    asymmetric = replace(first, scoring="asymmetric")
    lines = cost_table([first, asymmetric, other, failed]).splitlines()
    assert lines[0] == "## photos test: cost"
    assert lines[4:] == [
        "| a | 16 | 63 | 200 | 1,500 | 24 | 20 | 0 |",
        "",
        "All 2 trainings together: 2 CPU minutes.",
    ]


def test_the_csv_is_read_back() -> None:
    costly = Outcome(
        "a", "photos test", 16, 4, {NAMES[0]: 0.5}, 2.5, 24, "", 90.5, 1000, {"image": 3.0}
    )  # fmt: skip
    failed = Outcome("b, odd", "photos test", 16, 0, {}, error="no, none")
    assert read_csv(csv_text([costly, failed])) == [costly, failed]
    other = replace(costly, values={NAMES[0]: 0.6}, scoring="asymmetric")
    assert read_csv(csv_text([costly, other])) == [costly, other]
    with pytest.raises(InputError, match=r"^the table's columns are \['a'\], expected \["):
        read_csv("a\n1\n")


def test_a_csv_from_before_there_was_a_scoring_is_by_hamming_distance() -> None:
    text = (
        "collection,method,bits,seed,measure,direction,value,error\n"
        'photos test,a,16,0,"MAP@50, shared label",image_to_text,0.5,\n'
        'photos test,"a, reranked",16,0,"MAP@50, shared label",image_to_text,0.6,\n'
    )
    assert [(one.row, one.scoring, one.values) for one in read_csv(text)] == [
        ("a", "hamming", {NAMES[0]: 0.5}), ("a, reranked", "reranked", {NAMES[0]: 0.6}),
    ]  # fmt: skip


def test_scorings_are_rows_of_their_own() -> None:
    plain = outcome("a", 0, 0.1)
    other = replace(plain, values=dict.fromkeys(NAMES, 0.2), scoring="asymmetric")
    lines = grid_table([plain, other]).splitlines()
    assert [line.split(" | ")[:4] for line in lines[4:6]] == [
        ["| a", "16", "hamming", "0.100"], ["| a", "16", "asymmetric", "0.200"],
    ]  # fmt: skip
    # The same codes cost the same once.
    assert len(cost_table([plain, other]).splitlines()) == len(cost_table([plain]).splitlines())
    changed = [plain, other, replace(other, row="without x", values=dict.fromkeys(NAMES, 0.5))]
    assert (
        ablation_table(changed)
        .splitlines()[6]
        .startswith("| without x | 16 | asymmetric | +0.300 |")
    )
