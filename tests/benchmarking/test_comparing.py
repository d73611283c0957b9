"""`bench`, `ablate`, `reproduce` and `robustness` from Python: as the commands have them."""

import json
from pathlib import Path

import pytest

import modalhash as mh
from modalhash.benchmarking import Comparison, Reproduction
from modalhash.errors import InputError, UnknownNameError
from tests.oracles.feature_layouts import write_ucmfh

SHORT = {"epochs": 1, "least_steps": 0}


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    return f"ucmfh:{write_ucmfh(tmp_path / 'pairs')}"


@pytest.mark.usefixtures("own_cache")
def test_methods_side_by_side(pairs: str, tmp_path: Path) -> None:
    result = mh.bench(
        pairs, ["cca-itq", "random"], output=tmp_path / "bench", bits=(4,), seeds=(0, 1)
    )
    assert isinstance(result, Comparison)
    assert [(one.row, one.n_bits, one.seed, one.scoring) for one in result.outcomes] == [
        (row, 4, seed, scoring)
        for row in ("cca-itq", "random")
        for seed in (0, 1)
        for scoring in ("hamming", "asymmetric")
    ]
    assert not result.has_failed
    assert (result.folder / "table.md").read_text() == result.table
    assert result.table.count("| cca-itq | 4 |") == 3  # numbers by both scorings, and costs
    about = json.loads((result.folder / "about.json").read_text())
    assert (about["command"], list(about["rows"])) == ("modalhash.bench", ["cca-itq", "random"])
    again = mh.bench(pairs, "cca-itq, random", output=tmp_path / "bench", bits=(4,), seeds=(0, 1))
    assert again.outcomes == result.outcomes
    with pytest.raises(UnknownNameError, match=r"^unknown method 'cca'"):
        mh.bench(pairs, "cca", output=tmp_path / "bench")


@pytest.mark.usefixtures("own_cache")
def test_parts_of_a_method_turned_off(pairs: str, tmp_path: Path) -> None:
    result = mh.ablate(
        "djsrh", pairs, output=tmp_path / "ablation", bits=(8,), seeds=(0,), settings=SHORT
    )
    assert result.outcomes[0].row == "djsrh"
    assert len(result.outcomes) > 1
    assert result.table.startswith("## ")
    with pytest.raises(InputError, match="has no part that can be turned off"):
        mh.ablate("cca-sign", pairs, output=tmp_path / "other")


@pytest.mark.usefixtures("own_cache")
def test_a_protocol_with_printed_numbers(pairs: str, tmp_path: Path) -> None:
    result = mh.reproduce(
        "djsrh",
        pairs,
        protocol="djsrh:queries=6,train=12",
        output=tmp_path / "reproduced",
        bits=(16,),
        seeds=(0,),
        settings=SHORT,
    )
    assert isinstance(result, Reproduction)
    assert not result.has_failed
    document = json.loads((tmp_path / "reproduced" / "reproduction.json").read_text())
    assert document["command"] == "modalhash.reproduce"
    assert [line["bits"] for line in document["lines"]] == [line.n_bits for line in result.lines]
    text = (tmp_path / "reproduced" / "reproduction.md").read_text()
    assert text.startswith("# ")
