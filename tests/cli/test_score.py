"""`modalhash score`: what it prints, as a table and as JSON, and how it refuses."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.oracles.command_line import CommandLine


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Twelve items at distances 0 to 11; those at ranks 1 and 10 share the query's label."""
    signs = np.array([[-1] * rank + [1] * (16 - rank) for rank in range(12)])
    labels = np.array([7 if rank in (0, 9) else 3 for rank in range(12)])
    for name, array in (("q", np.ones((1, 16))), ("d", signs), ("ql", [7]), ("dl", labels)):
        np.save(tmp_path / f"{name}.npy", array)
    return [
        str(tmp_path / "q.npy"), str(tmp_path / "d.npy"), "--query-labels",
        str(tmp_path / "ql.npy"), "--database-labels", str(tmp_path / "dl.npy"),
    ]  # fmt: skip


CONVENTIONS = ["truncated", "first_k_relevant", "standard"]
CHOSEN = [word for name in CONVENTIONS for word in ("--convention", name)]


def test_json_is_the_contract_and_nothing_else(modalhash: CommandLine, files: list[str]) -> None:
    ended = modalhash("score", *files, "-k", "5,all", *CHOSEN, "--json")
    assert (ended.code, ended.err) == (0, "")
    document = json.loads(ended.out)
    assert {name: document[name] for name in ("format", "n_bits", "split", "counts")} == {
        "format": 1, "n_bits": 16, "split": None, "counts": {"queries": 1, "database": 12},
    }  # fmt: skip
    found = {
        (one["convention"], one["k"]): one
        for one in document["measures"]
        if (one["measure"], one["relevance"]) == ("map", "shared_label")
    }
    by_hand = {"truncated": 1 / 1, "first_k_relevant": (1 + 2 / 10) / 2, "standard": 1 / 2}
    for convention, expected in by_hand.items():
        one = found[convention, 5]
        assert one["value"] == pytest.approx(expected, rel=1e-12)
        assert (one["direction"], one["ties"]) == ("image_to_text", "expected")
        assert found[convention, None]["value"] == pytest.approx((1 + 2 / 10) / 2, rel=1e-12)


def test_the_table_has_formula_and_tie_rule_in_each_line(
    modalhash: CommandLine, files: list[str]
) -> None:
    ended = modalhash("score", *files, "-k", "5", *CHOSEN, "--ties", "database_order")
    assert ended.code == 0
    lines = [line.replace("│", " ").split() for line in ended.out.splitlines() if "│" in line]
    row = ["map", "5", "shared", "label", "hamming"]
    assert [*row, "truncated", "database_order", "1.0000"] in lines
    assert [*row, "first_k_relevant", "database_order", "0.6000"] in lines
    assert [*row, "standard", "database_order", "0.5000"] in lines
    assert "note: labels: one class a row, 2 classes" in ended.out
    assert "more numbers with --full, --json or --csv" in ended.out
    assert "lookup" not in ended.out
    assert "lookup precision" in modalhash("score", *files, "--full").out


def test_files_beside_the_table(modalhash: CommandLine, files: list[str], tmp_path: Path) -> None:
    document, table, page = (tmp_path / f"out.{ending}" for ending in ("json", "csv", "html"))
    ended = modalhash(
        "score", *files, "--pairs", "--json", document, "--csv", table, "--report", page,
        "--intervals", "10",
    )  # fmt: skip
    assert (ended.code, ended.out) == (1, "")
    assert "pairs means that row i answers query i, but there are 1 queries" in ended.err
    assert not any(path.exists() for path in (document, table, page))
    ended = modalhash(
        "score", *files, "--json", document, "--csv", table, "--report", page, "--intervals", "10"
    )
    assert ended.code == 0
    assert ended.out.endswith(f"JSON: {document}\nCSV: {table}\nreport: {page}\n")
    measures = json.loads(document.read_text(encoding="utf-8"))["measures"]
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert [float(row["value"]) for row in rows] == [one["value"] for one in measures]
    assert all(one["interval"] is not None for one in measures)
    assert "<!doctype html>" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["lost.npy", "d.npy"], 1, "modalhash: query_codes: there is no file lost.npy\n"),
        (["q.npy"], 2, "Error: Missing argument 'DATABASE'.\n"),
        (["q.npy", "d.npy", "--bit-order", "middle"], 2, "'middle' is not one of"),
        (["q.npy", "d.npy", "-k", "0"], 2, "'0' is neither a number nor 'all'"),
        (["q.npy", "d.npy", "-k", "²"], 2, "'²' is neither a number nor 'all'"),
        (["q.npy", "d.npy", "-k", "9" * 5000], 2, "9' is neither a number nor 'all'"),
    ],
)
def test_wrong_use_is_told(
    modalhash: CommandLine, words: list[str], code: int, message: str
) -> None:
    ended = modalhash("score", *words)
    assert (ended.code, ended.out) == (code, "")
    assert message in ended.err


@pytest.mark.usefixtures("tiny_encoder", "own_cache")
def test_folders_that_encode_wrote_score_as_evaluate_does(
    modalhash: CommandLine, scene_run: Path, tmp_path: Path
) -> None:
    for split in ("test", "train"):
        assert modalhash("encode", scene_run, "scenes:60", "-o", tmp_path / split, "--split", split)
    measured = modalhash(
        "evaluate", scene_run, "--captions", "all", "--json", "--scoring", "hamming"
    )
    expected = {
        tuple(one[name] for name in ("measure", "k", "direction", "relevance")): one["value"]
        for one in json.loads(measured.out)["measures"]
    }
    for direction in ("image_to_text", "text_to_image"):
        for database, more in (("train", []), ("test", ["--pairs"])):
            scored = modalhash(
                "score", tmp_path / "test", tmp_path / database, "--direction", direction, *more,
                "--json",
            )  # fmt: skip
            for one in json.loads(scored.out)["measures"]:
                if (one["relevance"] == "pair") == bool(more):
                    key = tuple(one[name] for name in ("measure", "k", "direction", "relevance"))
                    assert one["value"] == pytest.approx(expected[key], rel=1e-12), key


def test_queries_that_keep_their_numbers_are_scored(modalhash: CommandLine, tmp_path: Path) -> None:
    # Weights 3, 1, 1: the first bit decides, though two of three bits agree with the other item.
    np.save(tmp_path / "q.npy", np.array([[3.0, 1.0, 1.0]], np.float32))
    np.save(tmp_path / "d.npy", np.array([[-1, 1, 1], [1, -1, -1]], np.int8))
    np.save(tmp_path / "targets.npy", np.array([1]))
    words = [tmp_path / "q.npy", tmp_path / "d.npy", "--targets", tmp_path / "targets.npy"]
    ended = modalhash("score", *words, "--scoring", "asymmetric", "--json")
    document = json.loads(ended.out)
    assert document["notes"][0] == "query codes (q.npy): real numbers, one column a bit"
    ranks = {
        (one["measure"], one["scoring"]): one["value"]
        for one in document["measures"]
        if one["measure"].endswith("rank")
    }
    assert ranks == {("mean_rank", "asymmetric"): 1.0, ("median_rank", "asymmetric"): 1.0}
    refused = modalhash("score", *words)
    assert refused.code == 1
    assert "asymmetric scoring (on the command line --scoring asymmetric)" in refused.err
    folder = modalhash("score", tmp_path, tmp_path / "d.npy", "--scoring", "asymmetric")
    assert folder.code == 1
    assert "which holds codes: asymmetric scoring needs the queries' numbers" in folder.err
    np.save(tmp_path / "nan.npy", np.array([[np.nan, 1.0, 1.0]]))
    nan = modalhash("score", tmp_path / "nan.npy", *words[1:], "--scoring", "asymmetric")
    assert nan.code == 1
    assert "query_codes hold NaN or infinity, first in row 0" in nan.err
