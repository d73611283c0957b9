"""Training on pairs of which some are wrong, and measuring on true ones."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import modalhash as mh
from modalhash.api.learning import train_on_exchanged_texts
from modalhash.artifacts.collection_codes import CollectionCodes
from modalhash.benchmarking.label_noise import RobustnessRun, RobustnessStudy
from modalhash.benchmarking.outcomes import MEASURES, Outcome
from modalhash.benchmarking.wrong_pairs import format_losses, shuffle_texts
from modalhash.data import Collection
from modalhash.encoders.feature_tables import ArrayTable
from modalhash.errors import InputError, SettingError
from modalhash.training import TrainingData
from tests.oracles.command_line import CommandLine

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")

SCENES = "scenes:60"
QUICK = {"epochs": 1, "least_steps": 0, "batch_size": 16, "hidden_width": 8, "target_width": 8}
SET = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]


def made_pairs(n: int = 20) -> Collection:
    ids = tuple(map(str, range(n)))
    return Collection("pairs", ids, ids, np.arange(n), ids)


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.2, 3), (0.5, 8), (1.0, 15)])
def test_chosen_items_get_the_texts_of_other_chosen_ones(share: float, count: int) -> None:
    items = np.arange(5, 20)
    owners = shuffle_texts(made_pairs(), items, share, 3)
    changed = np.flatnonzero(owners != np.arange(20))
    assert len(changed) == count == round(share * 15)
    assert set(changed) == set(owners[changed]) <= set(items.tolist())
    assert_array_equal(np.sort(owners), np.arange(20))
    assert_array_equal(owners, shuffle_texts(made_pairs(), items, share, 3))
    larger = shuffle_texts(made_pairs(), items, 1.0, 3)
    assert set(changed) <= set(np.flatnonzero(larger != np.arange(20)).tolist())
    if 0 < share < 1:
        assert not np.array_equal(owners, shuffle_texts(made_pairs(), items, share, 4))


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_shares_out_of_range(share: float) -> None:
    message = f"the share of shuffled pairs is {share}, expected in [0, 1]"
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        mh.robustness(SCENES, shuffle_pairs=(0.2, share))


def test_too_few_items_and_two_studies_at_once_are_refused() -> None:
    message = (
        "a share of 0.02 of the 48 items that scenes has to learn from makes 1: at least 2 are "
        "needed to exchange texts"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.robustness(SCENES, shuffle_pairs=(0.02,))
    with pytest.raises(InputError, match=r"^shares flips labels and shuffle_pairs exchanges texts"):
        mh.robustness(SCENES, shuffle_pairs=(0.2,), shares=(0.1,))
    with pytest.raises(InputError, match=r"^shares: at least 1 is needed$"):
        mh.robustness(SCENES, shuffle_pairs=())
    with pytest.raises(InputError, match=r"^without turns off parts under flipped labels"):
        mh.robustness(SCENES, shuffle_pairs=(0.2,), without=["the graph"])
    with pytest.raises(InputError, match=r"^texts are exchanged among features"):
        mh.robustness(
            SCENES, "cfrh", shuffle_pairs=(0.2,), encoder="tiny", settings={"tune_encoder": True}
        )


def test_exchanged_texts_are_rows_of_the_owners() -> None:
    pooled = np.arange(12, dtype=np.float32).reshape(6, 2)
    starts = np.array([0, 1, 4, 6])  # items of 1, 3 and 2 texts
    data = TrainingData(ArrayTable(pooled), ArrayTable(pooled), starts, np.arange(3))
    exchanged = data.exchange_texts(np.array([1, 2, 0]))
    assert_array_equal(exchanged.caption_starts, [0, 3, 5, 6])
    assert_array_equal(exchanged.text.pooled(np.arange(6)), pooled[[1, 2, 3, 4, 5, 0]])
    assert (len(exchanged.text), exchanged.text.width, exchanged.text.dtype) == (6, 2, "float32")
    assert exchanged.text.token_shape is None
    assert exchanged.image is data.image


def test_exchanged_texts_are_those_of_a_collection_whose_texts_were_exchanged() -> None:
    arrays = np.random.default_rng(0).normal(size=(2, 40, 6)).astype(np.float32)
    ids = tuple(map(str, range(40)))

    def pairs(texts: np.ndarray[Any, np.dtype[np.float32]]) -> Collection:
        features: dict[Any, Any] = {"image": arrays[0], "text": texts}
        splits = {"train": np.arange(30), "test": np.arange(30, 40)}
        return Collection("pairs", ids, ids, np.arange(40), features=features, splits=splits)

    owners = shuffle_texts(pairs(arrays[1]), np.arange(30), 0.5, 1)
    options: dict[str, Any] = {
        "method": "cca-sign", "n_bits": 4, "encoder": "precomputed", "split": "train", "seed": 0,
        "preset": None,
    }  # fmt: skip
    model = train_on_exchanged_texts(pairs(arrays[1]), owners, **options)
    expected = mh.train(pairs(arrays[1][owners]), **options)
    codes, expected_codes = (
        CollectionCodes(each, pairs(arrays[1]), captions="first") for each in (model, expected)
    )
    rows = np.arange(40)
    assert_array_equal(codes.image(rows), expected_codes.image(rows))
    assert_array_equal(codes.text(rows), expected_codes.text(rows))


def test_measures_are_of_true_pairs_and_share_0_is_plain_training() -> None:
    study = mh.robustness(
        SCENES, "nested", shuffle_pairs=(0.5,), settings=QUICK, n_bits=8, seeds=(3,), split="dev",
        encoder="tiny",
    )  # fmt: skip
    assert [(run.share, run.n_flipped) for run in study.runs] == [(0.0, 0), (0.5, 24)]
    model = mh.train(SCENES, method="nested", n_bits=8, encoder="tiny", seed=3, settings=QUICK)
    report = mh.evaluate(model, SCENES, split="dev")
    for title, measure, rule, k in MEASURES:
        for direction in ("image_to_text", "text_to_image"):
            expected = report.value(measure, direction, relevance=rule, k=k)
            value = study.runs[0].outcome.values[f"{title} {direction}"]
            assert_allclose(value, expected, rtol=0, atol=5.1e-5)


def test_the_table_by_hand() -> None:
    def run(share: float, seed: int, values: tuple[float, float, float, float]) -> RobustnessRun:
        names = [
            f"{title} {direction}"
            for title in ("recall@10 by pair", "MAP@50, shared label")
            for direction in ("image_to_text", "text_to_image")
        ]
        numbers = dict(zip(names, values, strict=True))
        return RobustnessRun(share, 0, Outcome("nested", "photos dev", 64, seed, numbers))

    runs = (
        run(0.0, 0, (0.4, 0.6, 0.7, 0.9)),
        run(0.0, 1, (0.6, 0.8, 0.7, 0.9)),
        run(0.2, 0, (0.4, 0.5, 0.7, 0.9)),  # 5 points of recall less, none of MAP
        run(0.2, 1, (0.5, 0.8, 0.6, 0.8)),  # 5 points less, 10 points less
    )
    bare = RobustnessRun(0.2, 0, Outcome("cvh", "photos dev", 64, 0, {}))
    lines = RobustnessStudy({}, (*runs, bare), "shuffle_pairs").table().splitlines()
    assert lines[0] == (
        "| shuffled | method | recall@10 by pair | points lost | MAP@50, shared label | "
        "points lost |"
    )
    assert lines[2:] == [
        "| 0 % | nested | 0.600 ± 0.100 |  | 0.800 ± 0.000 |  |",
        "| 20 % | nested | 0.550 ± 0.100 | 5.0 ± 0.0 | 0.750 ± 0.050 | 5.0 ± 5.0 |",
        "| 20 % | cvh | - | - | - | - |",
    ]


def test_one_seed_has_no_deviation() -> None:
    assert [format_losses(losses) for losses in ([], [5.0], [5.0, 10.0])] == [
        "-",
        "5.0",
        "7.5 ± 2.5",
    ]


def test_the_command(modalhash: CommandLine, tmp_path: Path) -> None:
    ended = modalhash(
        "robustness", SCENES, "--encoder", "tiny", "--bits", "8", "--seeds", "0", *SET,
        "--method", "nested,cca-sign", "--shuffle-pairs", "0.25", "--shuffle-pairs", "0.5,1",
        "--json", tmp_path / "study.json",
    )  # fmt: skip
    assert ended.code == 0
    rows = [line.split(" | ")[:2] for line in ended.out.splitlines() if line.startswith("| ")]
    assert rows[2:] == [
        [f"| {share} %", method] for share in (0, 25, 50, 100) for method in ("nested", "cca-sign")
    ]
    document = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert document["about"]["method"] == "nested, cca-sign"
    assert [(run["shuffle_pairs"], run["n_shuffled"]) for run in document["runs"]] == [
        (0.0, 0), (0.0, 0), (0.25, 12), (0.25, 12), (0.5, 24), (0.5, 24), (1.0, 48), (1.0, 48),
    ]  # fmt: skip


@pytest.mark.parametrize("shares", ["", "0.2,a", "1.1", "-0.1", "nan"])
def test_bad_shares_are_wrong_usage(modalhash: CommandLine, shares: str) -> None:
    ended = modalhash("robustness", SCENES, "--shuffle-pairs", shares)
    assert ended.code == 2
    assert f"{shares!r} isn't shares in [0, 1] such as 0.2,0.4,0.6" in ended.err


def test_both_studies_at_once_are_wrong_usage(modalhash: CommandLine) -> None:
    ended = modalhash("robustness", SCENES, "--flip", "0.1", "--shuffle-pairs", "0.2")
    assert ended.code == 2
    assert "--flip and --shuffle-pairs are two studies: give one of them." in ended.err
