"""The exported `run.py` runs made checkouts, changes nothing in them, and leaves their codes."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from modalhash.benchmarking import export_inputs, import_public_codes
from modalhash.data import Collection
from tests.oracles import public_loaders
from tests.oracles.made_checkouts import make_checkout

N_BITS = 5
SPLITS = {"test": range(50), "train": range(60, 210), "dev": range(210, 230)}


@pytest.fixture
def pairs() -> Collection:
    """300 items of features, one text each; two more training items than whole batches of 128."""
    generator = np.random.default_rng(3)
    splits = {name: np.array(rows) for name, rows in SPLITS.items()}
    return Collection(
        "pairs",
        tuple(f"i{item}" for item in range(300)),
        tuple(f"t{item}" for item in range(300)),
        np.arange(300),
        labels=np.ones((300, 2), np.uint8),
        label_names=("a", "b"),
        splits={**splits, "database": np.arange(60, 290)},
        features={
            "image": generator.normal(size=(300, 7)).astype(np.float32),
            "text": generator.normal(size=(300, 6)).astype(np.float32),
        },
    )


@pytest.fixture
def export(pairs: Collection, tmp_path: Path) -> Any:
    def write(program: str, layout: str | None = None) -> Path:
        cache = tmp_path / "cache"
        return export_inputs(program, pairs, tmp_path / "inputs", layout=layout, cache=cache).folder

    return write


def run(inputs: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "inputs/run.py", *map(str, arguments)],
        cwd=inputs.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip


def list_files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def load_expected(layout: str, inputs: Path) -> dict[str, NDArray[np.floating]]:
    """Load the rows that a program gets, and take the signs of their first columns."""
    if layout.startswith("ucch"):
        load = public_loaders.ucch_coco if layout == "ucch coco" else public_loaders.ucch
        loaded = load(inputs, 50)
    elif layout == "dgcpn":
        loaded, _ = public_loaders.dgcpn(inputs)
    else:
        loaded = {"cirh": public_loaders.cirh, "ucmfh": public_loaders.ucmfh}[layout](inputs)
    names = {"query": ("qu_BI", "qu_BT"), "database": ("re_BI", "re_BT")}
    return {
        names[part][side]: np.sign(loaded[part][side][:, :N_BITS])
        for part in names
        for side in (0, 1)
    }


@pytest.mark.parametrize(
    ("layout", "more", "printed"),
    [
        ("cirh", ("--NUM_EPOCH", "1"), ["BATCH_SIZE=128, NUM_EPOCH=1", "workers 0"]),
        ("ucch", (), ["train 150"]),
        ("ucch coco", (), ["train 150"]),
        ("ucmfh", (), ["widths 1024 512 512", "train 128"]),
        ("dgcpn", (), ["in_features=7, out_features=8"]),
    ],
)
def test_a_checkout_leaves_its_codes(
    layout: str, more: tuple[str, ...], printed: list[str], export: Any, tmp_path: Path
) -> None:
    program, _, name = layout.partition(" ")
    inputs = export(program, name or None)
    checkout = make_checkout(program, tmp_path / "checkout")
    before = list_files(checkout)
    ended = run(inputs, checkout, "--bits", N_BITS, *(("--", *more) if more else ()))
    assert ended.returncode == 0, ended.stderr
    for text in printed:
        assert text in ended.stdout
    assert list_files(checkout) == before
    output = tmp_path / f"{program}-{N_BITS}.npz"
    assert f"codes in {output}\n" in ended.stderr
    with np.load(output) as stored:
        codes = dict(stored)
    expected = load_expected(layout, inputs)
    assert codes.keys() == expected.keys()
    for name, signs in expected.items():
        np.testing.assert_array_equal(codes[name], signs)
    report = import_public_codes(inputs, output, tmp_path / "codes", n_bits=N_BITS)
    assert report.counts == {"queries": 50, "database": 230}


def test_wide_features_widen_ucmfh(pairs: Collection, tmp_path: Path) -> None:
    wide = np.random.default_rng(1).normal(size=(300, 601)).astype(np.float32)
    wide_pairs = replace(pairs, features={"image": wide, "text": wide[:, :6]})
    inputs = export_inputs(
        "ucmfh", wide_pairs, tmp_path / "inputs", cache=tmp_path / "cache"
    ).folder
    checkout = make_checkout("ucmfh", tmp_path / "checkout")
    ended = run(inputs, checkout, "--bits", N_BITS, "-o", "wide.npz")
    assert "widths 1204 602 602" in ended.stdout, ended.stderr
    assert (tmp_path / "wide.npz").is_file()


def test_wrong_calls_end_in_one_line(export: Any, tmp_path: Path) -> None:
    inputs = export("cirh")
    checkout = make_checkout("cirh", tmp_path / "checkout")

    def refuse(expected: str, *arguments: object) -> None:
        ended = run(inputs, *arguments)
        assert (ended.returncode, ended.stderr) == (1, f"run.py: {expected}\n")

    clone = "git clone https://github.com/XizeWu/CIRH"
    refuse(f"{tmp_path / 'none'} isn't a folder: {clone}", tmp_path / "none", "--bits", 8)
    other = make_checkout("ucch", tmp_path / "other")
    refuse(
        f"{other} isn't a checkout of CIRH, it has no main_mir.py, main_coco.py, my_opt.py, "
        f"utils.py: {clone}",
        other, "--bits", 8,
    )  # fmt: skip
    (tmp_path / "cirh-8.npz").touch()
    refuse(
        f"{tmp_path / 'cirh-8.npz'} exists already: name another file with -o",
        checkout, "--bits", 8,
    )  # fmt: skip
    refuse(
        f"{tmp_path / 'no' / 'c.npz'} is in a folder that doesn't exist: name another file with -o",
        checkout, "--bits", 8, "-o", "no/c.npz",
    )  # fmt: skip
    ended = run(inputs, checkout, "--bits", 0)
    assert ended.returncode == 2
    assert ended.stderr.endswith("error: --bits must be at least 1\n")
    shutil.move(inputs / "inputs.json", tmp_path / "elsewhere.json")
    refuse(
        f"{inputs} has no readable inputs.json of this version: export again", checkout, "--bits", 8
    )


def test_a_program_without_its_function_or_its_evaluation_is_refused(
    export: Any, tmp_path: Path
) -> None:
    inputs = export("cirh")
    checkout = make_checkout("cirh", tmp_path / "checkout")
    ended = run(inputs, checkout, "--bits", N_BITS, "--", "--NUM_EPOCH", "0")
    assert ended.returncode == 1
    assert ended.stderr.endswith(
        "run.py: CIRH ended without an evaluation of all queries, so there are no codes: do the "
        "options behind -- keep it from evaluating?\n"
    )
    (checkout / "utils.py").write_text("")
    ended = run(inputs, checkout, "--bits", N_BITS)
    assert ended.returncode == 1
    assert ended.stderr == (
        f"run.py: {checkout} isn't the CIRH that we know: utils has no compress\n"
    )
