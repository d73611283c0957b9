"""Export for a public program, act as it would, import its codes: the numbers are evaluate's."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray

import modalhash as mh
from modalhash.benchmarking import export_inputs, import_public_codes, score_public_codes
from modalhash.benchmarking.public_programs import MANIFEST
from modalhash.bridges.public_inputs import LAYOUTS
from modalhash.codes import unpack
from modalhash.data import Collection
from modalhash.errors import (
    DamagedArtifactError,
    InputError,
    NewerFormatError,
    ShapeError,
    UnknownNameError,
)
from tests.oracles import public_loaders
from tests.oracles.command_line import CommandLine

N_BITS = 12
NAMES = ("qu_BI", "qu_BT", "re_BI", "re_BT")


@pytest.fixture
def pairs() -> Collection:
    """300 items of features with two texts each; splits in no order, and a few items in none."""
    generator = np.random.default_rng(5)
    n_items = 300
    labels = (generator.random((n_items, 4)) < 0.4).astype(np.uint8)
    image = labels @ generator.normal(size=(4, 7)) + generator.normal(size=(n_items, 7))
    owners = np.repeat(np.arange(n_items), 2)
    text = labels[owners] @ generator.normal(size=(4, 6)) + generator.normal(size=(600, 6))
    order = generator.permutation(n_items)
    return Collection(
        "pairs",
        tuple(f"i{item}" for item in range(n_items)),
        tuple(f"t{row}" for row in range(600)),
        owners,
        labels=labels,
        label_names=("a", "b", "c", "d"),
        splits={
            "test": order[:50], "train": order[60:210], "dev": order[210:230],
            "database": order[60:290],
        },
        features={"image": image.astype(np.float32), "text": text.astype(np.float32)},
    )  # fmt: skip


def signs_of(rows: NDArray[np.floating], seed: int) -> NDArray[np.floating]:
    """Return what a program's networks might: signs of a random map of what it loaded."""
    maps = np.random.default_rng(seed).normal(size=(64, N_BITS))
    return np.sign(rows[:, :6].astype(np.float64) @ maps[:6])


def act(program: str, root: Path, n_queries: int, file: Path) -> None:
    """Load an export as the program does, and dump codes under its names."""
    if program == "ucch":
        found = public_loaders.ucch(root, n_queries)
    elif program == "dgcpn":
        found, _ = public_loaders.dgcpn(root)
    else:
        found = {"cirh": public_loaders.cirh, "ucmfh": public_loaders.ucmfh}[program](root)
    codes = [signs_of(found[part][side], side) for part in ("query", "database") for side in (0, 1)]
    names = NAMES
    if program == "ucch":
        names = ("query_imgs", "query_txts", "retrieval_imgs", "retrieval_txts")
    save(file, dict(zip(names, codes, strict=True)))


def save(file: Path, arrays: Mapping[str, Any]) -> None:
    np.savez(file, **arrays)


@pytest.mark.parametrize("layout", [*LAYOUTS, "ucmfh blank-partner"])
def test_codes_come_back_to_their_items(layout: str, pairs: Collection, tmp_path: Path) -> None:
    program, _, name = layout.partition(" ")
    made = export_inputs(
        program, pairs, tmp_path / "inputs", layout=name or None, cache=tmp_path / "cache"
    )
    assert made.counts == {"train": 150, "query": 50, "database": 230}
    act(program, made.folder, 50, tmp_path / "codes.npz")
    import_public_codes(made.folder, tmp_path / "codes.npz", tmp_path / "codes", n_bits=N_BITS)
    assert pairs.labels is not None
    seen = []
    for part, split in (("query", "test"), ("database", "database")):
        folder = tmp_path / "codes" / part
        said = json.loads((folder / "codes.json").read_text())
        items = np.array([pairs.item_ids.index(one) for one in said["image_ids"]])
        seen += items.tolist()
        assert sorted(items) == sorted(pairs.splits[split])
        if program != "ucch":  # whose training items stand first
            np.testing.assert_array_equal(items, pairs.splits[split])
        assert said["text_ids"] == [f"t{2 * item}" for item in items]  # the first of two
        np.testing.assert_array_equal(np.load(folder / "labels.npy"), pairs.labels[items])
        for side, rows in (("image", items), ("text", 2 * items)):
            codes = unpack(np.load(folder / f"{side}_codes.npy"), N_BITS)
            features = pairs.features[side]  # type: ignore[index]
            expected = np.where(signs_of(features[rows], ["image", "text"].index(side)) >= 0, 1, -1)
            np.testing.assert_array_equal(codes, expected)
    assert len(seen) == len(set(seen))


def test_numbers_are_those_of_evaluate(pairs: Collection, tmp_path: Path) -> None:
    """Codes of a model of ours, carried round as a program's, measure as the model does."""
    cache = tmp_path / "cache"
    export_inputs("cirh", pairs, tmp_path / "inputs", cache=cache)
    model = mh.train(pairs, method="cca-sign", n_bits=6, encoder="precomputed", cache=cache)
    loaded = public_loaders.cirh(tmp_path / "inputs")
    codes = {
        "qu_BI": unpack(model.encode_features(loaded["query"][0], "image"), 6),
        "qu_BT": unpack(model.encode_features(loaded["query"][1], "text"), 6),
        "re_BI": unpack(model.encode_features(loaded["database"][0], "image"), 6),
        "re_BT": unpack(model.encode_features(loaded["database"][1], "text"), 6),
    }
    scipy.io.savemat(tmp_path / "codes.mat", {name: one * 1.0 for name, one in codes.items()})
    found = import_public_codes(
        tmp_path / "inputs", tmp_path / "codes.mat", tmp_path / "codes", top_k=(5, None)
    )
    expected = mh.evaluate(model, pairs, top_k=(5, None), scoring="hamming", cache=cache)
    ours = {(m.measure, m.k, m.direction, m.relevance): m.value for m in expected.measures}
    theirs = {(m.measure, m.k, m.direction, m.relevance): m.value for m in found.measures}
    assert theirs.keys() == ours.keys()
    for key, value in theirs.items():
        np.testing.assert_allclose(value, ours[key], rtol=1e-12, err_msg=str(key))
    assert (found.split, found.database) == ("test", "database")
    assert found.counts == {"queries": 50, "database": 230}
    again = score_public_codes(tmp_path / "codes", top_k=(5, None))
    assert again.measures == found.measures


def test_a_sign_of_zero_counts_as_plus_one(pairs: Collection, tmp_path: Path) -> None:
    export_inputs("cirh", pairs, tmp_path / "inputs", cache=tmp_path / "cache")
    codes = {
        name: np.where(np.random.default_rng(1).random((n_rows, 3)) < 0.5, -1.0, 1.0)
        for name, n_rows in zip(NAMES, (50, 50, 230, 230), strict=True)
    }
    codes["qu_BI"][4, 2] = 0
    (tmp_path / "dump").mkdir()
    for name, one in codes.items():
        np.save(tmp_path / "dump" / f"{name}.npy", one)
    report = import_public_codes(tmp_path / "inputs", tmp_path / "dump", tmp_path / "codes")
    told = "query image codes: 1 zeros, as a sign may give, count as +1"
    assert told in report.notes
    stored = unpack(np.load(tmp_path / "codes" / "query" / "image_codes.npy"), 3)
    assert stored[4, 2] == 1


def test_wrong_codes_are_refused(pairs: Collection, tmp_path: Path) -> None:
    inputs, output = tmp_path / "inputs", tmp_path / "codes"
    export_inputs("cirh", pairs, inputs, cache=tmp_path / "cache")
    ones = {
        name: np.ones((n_rows, 8)) for name, n_rows in zip(NAMES, (50, 50, 230, 230), strict=True)
    }

    def refused(
        changes: dict[str, NDArray[np.floating]], error: type[Exception], text: str
    ) -> None:
        given = {name: one for name, one in (ones | changes).items() if len(one)}
        save(tmp_path / "codes.npz", given)
        with pytest.raises(error, match=re.escape(text)):
            import_public_codes(inputs, tmp_path / "codes.npz", output)
        assert not output.exists()

    refused(
        {"re_BT": np.ones((128, 8))},
        ShapeError,
        "database text codes has 128 rows, the program was given 230: are they of this export, "
        "and of the whole part?",
    )
    refused(
        {"re_BT": np.ones((230, 16))},
        ShapeError,
        "holds codes of several lengths (query image 8, query text 8, database image 8, database "
        "text 16 bits): import one model",
    )
    refused(
        {"qu_BT": np.ones((0, 8))},
        InputError,
        "has no array qu_BT or query_txts (text query codes); it has qu_BI, re_BI, re_BT",
    )
    refused({"qu_BI": np.full((50, 8), 0.4)}, InputError, "query image codes holds 0.4 at row 0")
    with pytest.raises(InputError, match=re.escape("nothing.npz: there is no such file or folder")):
        import_public_codes(inputs, tmp_path / "nothing.npz", output)
    save(tmp_path / "codes.npz", ones)
    with pytest.raises(ShapeError, match=re.escape("has 8 columns of one bit each, but n_bits is")):
        import_public_codes(inputs, tmp_path / "codes.npz", output, n_bits=16)


def test_a_damaged_export_is_refused(pairs: Collection, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    export_inputs("cirh", pairs, inputs, cache=tmp_path / "cache")
    ones = dict(zip(NAMES, map(np.ones, ((50, 8), (50, 8), (230, 8), (230, 8))), strict=True))
    save(tmp_path / "codes.npz", ones)
    np.save(inputs / "query_labels.npy", np.ones((49, 4)))
    with pytest.raises(DamagedArtifactError, match=re.escape("has 49 rows, expected 50: export")):
        import_public_codes(inputs, tmp_path / "codes.npz", tmp_path / "codes")
    (inputs / MANIFEST).write_text('{"format": 9, "modalhash": "7.0"}')
    with pytest.raises(
        NewerFormatError, match=re.escape("has format 9 (written by modalhash 7.0)")
    ):
        import_public_codes(inputs, tmp_path / "codes.npz", tmp_path / "codes")
    with pytest.raises(DamagedArtifactError, match=re.escape("is no public inputs folder")):
        import_public_codes(tmp_path, tmp_path / "codes.npz", tmp_path / "codes")


def test_an_export_that_can_t_be_fair_is_refused(pairs: Collection, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    without = replace(pairs, labels=None, label_names=())
    with pytest.raises(InputError, match=re.escape("pairs has no labels: the public programs")):
        export_inputs("cirh", without, tmp_path / "a", cache=cache)
    with pytest.raises(
        InputError, match=re.escape("150 of 150 queries of split 'train' are train")
    ):
        export_inputs("cirh", pairs, tmp_path / "a", split="train", cache=cache)
    with pytest.raises(UnknownNameError, match=re.escape("unknown program 'cagan'; known: cirh")):
        export_inputs("cagan", pairs, tmp_path / "a", cache=cache)
    assert not (tmp_path / "a").exists()
    export_inputs("cirh", pairs, tmp_path / "a", cache=cache)
    with pytest.raises(
        InputError, match=re.escape("a exists already: replace it with --overwrite")
    ):
        export_inputs("cirh", pairs, tmp_path / "a", cache=cache)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(InputError, match=re.escape("exists already and holds something else")):
        export_inputs("cirh", pairs, tmp_path / "mine", overwrite=True, cache=cache)
    made = export_inputs("dgcpn", pairs, tmp_path / "a", overwrite=True, cache=cache)
    assert not (tmp_path / "a" / "datasets").exists()
    # dev isn't the queries' split here: it is what DGCPN stops early by
    _, validation = public_loaders.dgcpn(made.folder)
    assert len(validation) == 20


def test_without_dev_a_tenth_of_training_items_stands_in(pairs: Collection, tmp_path: Path) -> None:
    splits = {name: rows for name, rows in pairs.splits.items() if name != "test"}
    made = export_inputs(
        "dgcpn", replace(pairs, splits=splits), tmp_path / "inputs", cache=tmp_path / "cache"
    )
    found, validation = public_loaders.dgcpn(made.folder)
    assert made.counts["query"] == 20  # dev
    image = np.load(made.folder / "flickr" / "flickr_vgg19.npy")
    np.testing.assert_array_equal(image[validation], found["train"][0][::10])
    assert any("val_num.npy names 15 training items" in note for note in made.notes)


def test_the_commands_say_what_to_do(
    modalhash: CommandLine, pairs: Collection, tmp_path: Path
) -> None:
    arrays = {"image": pairs.features["image"], "text": pairs.features["text"][::2]}
    splits = {f"split_{name}": rows for name, rows in pairs.splits.items()}
    save(tmp_path / "pairs.npz", {**arrays, "labels": pairs.labels, **splits})
    common = ("--cache", tmp_path / "cache")
    collection = f"features:{tmp_path / 'pairs.npz'}"
    told = modalhash("-q", "bench", "export", "cirh", collection, "-o", tmp_path / "in", *common)
    assert told.code == 0, told.err
    first, *notes, command, last = told.out.splitlines()
    assert first == f"cirh: 150 train, 50 query, 230 database items in {tmp_path / 'in'}"
    assert notes[-1].endswith("--K 90 is the same share of 150")
    assert command.startswith("its command: python main_mir.py --TRAIN 1 --HASH_BIT N ")
    clone = "git clone https://github.com/XizeWu/CIRH CHECKOUT"
    assert last == f"run: {clone}; python {tmp_path / 'in' / 'run.py'} CHECKOUT --bits N"
    act("cirh", tmp_path / "in", 50, tmp_path / "codes.npz")
    told = modalhash("bench", "import", tmp_path / "in", tmp_path / "codes.npz", "-o",
                     tmp_path / "out", "--bits", "12", "--json")  # fmt: skip
    assert told.code == 0, told.err
    document = json.loads(told.out)
    assert document["n_bits"] == 12
    rules = {one["relevance"] for one in document["measures"]}
    assert {"shared_label", "jaccard", "pair"} <= rules
    scored = modalhash("score", tmp_path / "out" / "query", tmp_path / "out" / "database", "--json")
    by_label = [one for one in document["measures"] if one["direction"] == "image_to_text"]
    assert json.loads(scored.out)["measures"] == [
        one for one in by_label if one["relevance"] != "pair"
    ]
    divided = ("--protocol", "dcmh:queries=40,train=100")
    told = modalhash("-q", "bench", "export", "dgcpn", collection, "-o", tmp_path / "by-dcmh",
                     *divided, *common)  # fmt: skip
    assert told.out.startswith("dgcpn: 100 train, 40 query, 260 database items in "), told.err
    assert "dcmh" in json.loads((tmp_path / "by-dcmh" / MANIFEST).read_text())["split_note"]
    told = modalhash("bench", "export", "cihr", collection, "-o", tmp_path / "no", *common)
    assert (told.code, told.err.strip()) == (
        1, "modalhash: unknown program 'cihr': did you mean 'cirh'? Known: cirh, dgcpn, ucch, ucmfh"
    )  # fmt: skip


def test_bench_is_a_command_over_collections_as_before(modalhash: CommandLine) -> None:
    told = modalhash("bench", "--help")
    assert told.code == 0
    assert told.out.startswith("Usage: modalhash bench [OPTIONS] COLLECTIONS...\n")
    assert "--methods" in told.out
    assert re.search(r"^  export +Write the input files of a public program\.$", told.out, re.M)
    assert modalhash("bench", "export", "--help").out.startswith(
        "Usage: modalhash bench export [OPTIONS] PROGRAM COLLECTION\n"
    )
    told = modalhash("bench")
    assert told.code == 2
    assert "Missing argument 'COLLECTIONS...'" in told.err
    told = modalhash("bench", "icons")
    assert told.code == 2
    assert "Missing option '-o'" in told.err


def test_a_folder_called_export_is_a_collection(
    modalhash: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = modalhash("bench", "./export", "--methods", "random", "--bits", "8", "--seeds", "0",
                     "-o", "out")  # fmt: skip
    assert told.code == 1
    assert "there is no folder and no collection './export'" in told.err
