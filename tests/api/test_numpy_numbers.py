"""NumPy's numbers are taken wherever Python's are, and leave the same files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.artifacts import load_model
from modalhash.codes import pack
from modalhash.index import build_index, open_index
from modalhash.methods.settings import read_value
from modalhash.numpy_numbers import json_number, plain_numbers

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")
Number = Callable[[float], Any]
WHOLE: list[Number] = [np.int64, np.int32, np.uint8]
INT64: Number = np.int64


@pytest.mark.parametrize("whole", WHOLE)
def test_a_model_is_the_same(tmp_path: Path, whole: Number) -> None:
    kinds: list[tuple[Number, Number]] = [(int, float), (whole, np.float32)]
    models = [
        mh.train(
            "scenes:60", method="nested", encoder="tiny", n_bits=one(16), seed=one(3),
            settings={"epochs": one(1), "shortest": one(8), "learning_rate": real(0.5)},
            output=tmp_path / str(number),
        )
        for number, (one, real) in enumerate(kinds)
    ]  # fmt: skip
    assert models[0].fingerprint == models[1].fingerprint
    documents = [json.loads((tmp_path / name / "model.json").read_text()) for name in "01"]
    assert documents[0] == documents[1]
    assert load_model(tmp_path / "1").n_bits == 16
    short = mh.shorten(tmp_path / "1", tmp_path / "short", n_bits=whole(8))
    assert short.n_bits == 8


@pytest.mark.parametrize("kind", ["exact", "flat", "ivf", "mih", "auto"])
@pytest.mark.parametrize("whole", WHOLE)
def test_an_index_opens_again(tmp_path: Path, kind: str, whole: Number) -> None:
    signs = np.where(np.random.default_rng(0).random((200, 16)) < 0.5, 1, -1)
    codes = pack(signs)
    parameters = {"ivf": {"n_cells": whole(4), "n_probes": whole(4)}, "auto": {}}
    index = build_index(
        [whole(place) for place in range(200)],
        codes,
        whole(16),
        kind=kind,
        parameters=parameters.get(kind),
        metadata=[{"year": whole(place), "share": np.float64(0.5)} for place in range(200)],
    )
    index.save(tmp_path / "index")
    with open_index(tmp_path / "index") as again:
        hits = again.search(codes[:1], whole(3))
        assert hits.ids[0, 0] == 0
        assert again.search_radius(codes[:1], whole(4)).distances.max() <= 4
        assert again.metadata([whole(7)]) == [{"year": 7, "share": 0.5}]
        assert again.search(codes[:1], whole(1), where="year = 9").ids.tolist() == [[9]]
        again.delete([whole(0)])
    with open_index(tmp_path / "index") as again:
        assert len(again) == 199


def test_settings_are_read() -> None:
    assert read_value("epochs", np.int64(3), int) == 3
    assert type(read_value("epochs", np.int64(3), int)) is int
    assert read_value("rate", np.float32(0.5), float) == 0.5
    assert read_value("drop_last", np.bool_(True), bool) is True


def test_other_things_stay_what_they_are() -> None:
    array = np.arange(3)
    assert plain_numbers(array) is array
    assert plain_numbers(("a", np.int8(1))) == ("a", 1)
    with pytest.raises(TypeError, match="Object of type set is not JSON serializable"):
        json_number({1})


def test_a_search_and_a_table_take_them(tmp_path: Path, scene_index: Path) -> None:
    with mh.open_index(scene_index) as index:
        for k in (4, INT64(4)):
            assert len(index.search(text="a red circle", k=k).hits) == 4
        assert index.search(text="a red circle", radius=INT64(12)).hits
    table = mh.bench(
        "scenes:60", "random", output=tmp_path / "bench", bits=[INT64(8)], seeds=[INT64(0)],
        encoder="tiny",
    )  # fmt: skip
    assert table.outcomes
