"""The table of structural modules and what it is made of."""

import numpy as np
import pytest

import modalhash as mh
from modalhash.benchmarking.module_table import (
    Difference,
    differences_from_json,
    differences_json,
    find_differences,
    module_table,
)
from modalhash.benchmarking.outcomes import Outcome, csv_text, read_csv
from modalhash.benchmarking.variants import ModuleRows, list_module_rows, module_variants
from modalhash.errors import InputError, UnknownNameError
from modalhash.methods import METHODS

MAP, RECALL = "MAP@50, shared label", "recall@10 by pair"
NAMES = [f"{title} {way}" for title in (MAP, RECALL) for way in ("image_to_text", "text_to_image")]
ROWS = ModuleRows("filter", "sgrn", "sgrn, without the filter", "sgrn, with a shuffled filter")
WHOLES = {ROWS.off: "sgrn", ROWS.shuffled: "sgrn"}


def outcome(row: str, value: float, seed: int = 0, **changes: object) -> Outcome:
    """Numbers that are all alike."""
    made = Outcome(
        row, "icons test", 64, seed, dict.fromkeys(NAMES, value), constant_share=0.25,
        code_sizes={"image": 0.9, "text": 0.7}, sign_cosines={"image": 0.98, "text": 0.96},
    )  # fmt: skip
    return Outcome(**{**made.__dict__, **changes})


def values(number: float) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """The same number for forty queries."""
    return {name: np.full(40, number, np.float32) for name in NAMES}


def test_seeds_that_both_rows_have_are_averaged() -> None:
    """Seeds 0 and 1 of both: (.2 + .4) / 2 less (.5 + .5) / 2; seed 2 has no partner."""
    runs = [
        (outcome("sgrn", 0.5, 0), values(0.5)),
        (outcome("sgrn", 0.5, 1), values(0.5)),
        (outcome(ROWS.off, 0.2, 0), values(0.2)),
        (outcome(ROWS.off, 0.4, 1), values(0.4)),
        (outcome(ROWS.off, 0.9, 2), values(0.9)),
    ]
    differences = find_differences(runs, WHOLES)
    assert set(differences) == {("icons test", 64, ROWS.off, name) for name in NAMES}
    for difference in differences.values():
        assert difference.value == pytest.approx(-0.2, abs=1e-6)
        assert difference.is_real
    assert differences_from_json(differences_json(differences)).keys() == differences.keys()


def test_a_difference_is_real_where_its_interval_leaves_zero_out() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(size=200).astype(np.float32)
    runs = [
        (outcome("sgrn", 0.5), {NAMES[0]: np.zeros(200, np.float32)}),
        (outcome(ROWS.off, 0.5), {NAMES[0]: noise - noise.mean()}),
        (outcome(ROWS.shuffled, 0.5), {NAMES[0]: noise - noise.mean() - 1}),
    ]
    differences = find_differences(runs, WHOLES)
    by_row = {row: difference for (_, _, row, _), difference in differences.items()}
    assert not by_row[ROWS.off].is_real
    assert by_row[ROWS.shuffled].is_real


def test_other_scorings_take_no_part() -> None:
    runs = [(outcome(row, 0.5, scoring="asymmetric"), values(0.5)) for row in ("sgrn", ROWS.off)]
    assert not find_differences(runs, WHOLES)


def test_reranked_rows_are_compared_with_the_whole_method_reranked() -> None:
    """.5 less .8 reranked, where by Hamming distance it is .5 less .6."""
    runs = [
        (outcome("sgrn", 0.6), values(0.6)),
        (outcome("sgrn, reranked", 0.8, scoring="reranked"), values(0.8)),
        (outcome(ROWS.off, 0.5), values(0.5)),
        (outcome(f"{ROWS.off}, reranked", 0.5, scoring="reranked"), values(0.5)),
    ]
    differences = find_differences(runs, WHOLES)
    by_row = {row: difference.value for (_, _, row, _), difference in differences.items()}
    assert by_row == {
        ROWS.off: pytest.approx(-0.1, abs=1e-6),
        f"{ROWS.off}, reranked": pytest.approx(-0.3, abs=1e-6),
    }
    table = module_table([numbers for numbers, _ in runs], [ROWS], differences)
    shown = [line.split(" | ")[:5] for line in table.splitlines() if line.startswith("| sgrn")]
    assert shown == [
        ["| sgrn", "filter", "on", "64", "0.600"],
        ["| sgrn", "filter", "off", "64", "-0.100*"],
        ["| sgrn, reranked", "filter", "on", "64", "0.800"],
        ["| sgrn, reranked", "filter", "off", "64", "-0.300*"],
    ]


def test_the_table_shows_three_rows_a_module_with_sizes_and_constant_bits() -> None:
    differences = {
        ("icons test", 64, ROWS.off, name): Difference(-0.01, -0.02, -0.005) for name in NAMES
    }
    failed = Outcome(ROWS.shuffled, "icons test", 64, 0, {}, error="no labels")
    runs = [outcome("sgrn", 0.5), outcome(ROWS.off, 0.49), outcome(ROWS.shuffled, 0.5)]
    table = module_table([*runs, failed], [ROWS], differences)
    lines = [line for line in table.splitlines() if line.startswith("| sgrn")]
    end = "0.80 | 0.97 | 25% |"  # (.9 + .7) / 2 and (.98 + .96) / 2
    assert lines == [
        f"| sgrn | filter | on | 64 | 0.500 | 0.500 | 0.500 | 0.500 | {end}",
        f"| sgrn | filter | off | 64 | -0.010* | -0.010* | -0.010* | -0.010* | {end}",
        f"| sgrn | filter | shuffled | 64 | - | - | - | - | {end}",
    ]
    assert "no labels" in table


def test_a_module_whose_controls_were_not_run_has_no_rows() -> None:
    table = module_table([outcome("sgrn", 0.5)], [ROWS], {})
    assert not [line for line in table.splitlines() if line.startswith("| sgrn")]


def test_sizes_of_codes_are_kept_in_the_file() -> None:
    (again,) = read_csv(csv_text([outcome("sgrn", 0.5)]))
    assert again.code_sizes == {"image": 0.9, "text": 0.7}
    assert again.sign_cosines == {"image": 0.98, "text": 0.96}


def test_each_method_stands_whole_before_its_controls() -> None:
    variants = module_variants(["lsh", "ms2gah", "sgrn"])
    names = [variant.name for variant in variants]
    assert names == [
        "ms2gah",
        "ms2gah, without the graph",
        "ms2gah, with a shuffled graph",
        "ms2gah, without the label encoder",
        "ms2gah, with a shuffled label encoder",
        "sgrn",
        "sgrn, without the filter",
        "sgrn, with a shuffled filter",
    ]
    assert variants[2].settings == {"shuffled_graph": True}
    shown = {row for name in METHODS for one in list_module_rows(name) for row in (one.off,)}
    assert {"cfrh, without the decoders", "ucch, without the contrast with the bank"} <= shown


def test_methods_without_structural_modules_are_refused(tmp_path: object) -> None:
    with pytest.raises(InputError, match="lsh: no method with a structural module"):
        mh.ablate("lsh", "icons", modules=True, output=str(tmp_path))
    with pytest.raises(UnknownNameError):
        mh.ablate("sgrn,sgrm", "icons", modules=True, output=str(tmp_path))


def test_runs_that_failed_for_one_reason_are_one_line() -> None:
    reason = "epochs is 0, expected at least 1"
    failed = [
        outcome(row, 0.5, seed, values={}, error=reason)
        for row in ("sgrn", ROWS.off)
        for seed in range(3)
    ]
    lines = module_table(failed, [ROWS], {}).splitlines()
    assert [line for line in lines if line.startswith("- ")] == [
        f"- {row}: 3 runs failed: {reason}" for row in ("sgrn", ROWS.off)
    ]
