"""From a run to hits with a probability: what is held out, what is kept, what is refused."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import modalhash as mh
from modalhash.codes import hamming_distances
from modalhash.data import Collection
from modalhash.errors import DamagedArtifactError, InputError, UnavailableError, UnknownNameError
from modalhash.search import SearchIndex, Side
from tests.conftest import add_tiny_encoder
from tests.oracles.command_line import CommandLine

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")
SCENES = "scenes:60"
N_HELD_OUT = 12
"""Of 60 scenes 48 are trained on."""
STATED = "calibrated on 12 items of scenes, not seen in training, by shared label"


@pytest.fixture(scope="module")
def scenes() -> Collection:
    return mh.load_collection(SCENES)


@pytest.fixture(autouse=True)
def few_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a dozen items be enough."""
    monkeypatch.setattr("modalhash.api.calibrating.FEWEST_ITEMS", N_HELD_OUT)


@pytest.fixture(scope="module")
def trained(scene_run: Path, tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Path:
    """A folder with the run and a calibrated index of it; not to be changed."""
    folder = tmp_path_factory.mktemp("calibrated")
    shutil.copytree(scene_run, folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modalhash.api.calibrating.FEWEST_ITEMS", N_HELD_OUT)
        add_tiny_encoder(patch)
        mh.build_index(folder / "run", output=folder / "index", cache=session_cache).close()
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def index_folder(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained / "index", tmp_path / "index")
    return tmp_path / "index"


def test_counts_are_those_of_held_out_pairs(run: Path, scenes: Collection) -> None:
    found = mh.calibrate(run)
    assert found.stated == STATED
    labels = scenes.labels
    items = np.sort(np.concatenate([scenes.split("dev"), scenes.split("test")]))
    assert labels is not None
    assert scenes.captions is not None
    assert scenes.pictures is not None
    model = mh.load_model(run)
    images = model.encode_images([scenes.pictures.open(item) for item in items])
    texts = model.encode_texts([scenes.captions[5 * item + k] for item in items for k in range(5)])
    distances = hamming_distances(images, texts)
    pairs, relevant = np.zeros(13, np.int64), np.zeros(13, np.int64)
    for query in range(12):
        for row in range(60):
            if row // 5 != query:
                distance = distances[query, row]
                pairs[distance] += 1
                relevant[distance] += any(labels[items[query]] & labels[items[row // 5]])
    curve = next(one.curve for name, one in found.directions.items() if name == "image_to_text")
    np.testing.assert_array_equal(curve.pairs, pairs)
    np.testing.assert_array_equal(curve.relevant, relevant)
    assert {name.value: one.curve.n_queries for name, one in found.directions.items()} == {
        "image_to_text": 12, "text_to_image": 60, "image_to_image": 12, "text_to_text": 60,
    }  # fmt: skip
    again = mh.calibrate(run)
    assert again.to_json() == found.to_json()
    assert json.loads((run / "calibration.json").read_text("utf-8"))["format"] == 1


def test_by_pair_there_is_no_image_to_image(run: Path) -> None:
    found = mh.calibrate(run, relevance="pair")
    assert [name.value for name in found.directions] == [
        "image_to_text", "text_to_image", "text_to_text",
    ]  # fmt: skip
    for name, partners in (("image_to_text", 5), ("text_to_image", 1), ("text_to_text", 4)):
        curve = next(one.curve for key, one in found.directions.items() if key == name)
        assert curve.relevant.sum() == partners * curve.n_queries
    message = (
        "nothing can be calibrated of image_to_image by pair: pairs are of two modalities, or of "
        "several texts of an item"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.calibrate(run, relevance="pair", directions=["image_to_image"])


def test_what_training_saw_is_refused(run: Path) -> None:
    message = (
        "the model was trained on 48 of the 48 items of split 'train': what it has seen says "
        "little about new pairs; name a split it hasn't seen"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.calibrate(run, split="train")
    with pytest.raises(InputError, match=r"^the model was trained on 48 of the 60 items"):
        mh.calibrate(run, split="all")
    message = (
        "split 'dev' of scenes has 6 items, at least 12 held-out ones are needed to calibrate: "
        "name a larger split; or calibrate on a collection that the model hasn't seen (`modalhash "
        "calibrate RUN COLLECTION`)"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.calibrate(run, split="dev")
    assert not (run / "calibration.json").exists()


def test_too_few_held_out_items(run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("modalhash.api.calibrating.FEWEST_ITEMS", 50)
    message = (
        "the part of scenes not seen in training has 12 items, at least 50 held-out ones are "
        "needed to calibrate: train anew with more left out (--split-file), or on more items: "
        "divided as now, 250 of them leave out 50; or calibrate on a collection that the model "
        "hasn't seen (`modalhash calibrate RUN COLLECTION`)"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.calibrate(run)
    with mh.build_index(run, output=tmp_path / "index") as index:
        assert index.calibration is None


def test_another_division_is_refused(run: Path, scenes: Collection) -> None:
    divided = replace(scenes, splits={**scenes.splits, "train": scenes.split("test")})
    with pytest.raises(
        InputError, match=r"^scenes was divided otherwise when the model was trained"
    ):
        mh.calibrate(run, divided)


def test_a_collection_that_the_model_has_not_seen(run: Path) -> None:
    found = mh.calibrate(run, "scenes:61")
    assert (found.split, found.n_items) == ("all items", 61)


def test_wrong_names(run: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown relevance 'near'"):
        mh.calibrate(run, relevance="near")
    message = "relevance is 'graded', expected shared_label or pair"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.calibrate(run, relevance="graded")
    with pytest.raises(UnknownNameError, match="unknown direction 'up'"):
        mh.calibrate(run, directions=["up"])
    with pytest.raises(InputError, match=r"^directions is empty: name at least one$"):
        mh.calibrate(run, directions=[])


def test_hits_carry_the_probability_of_their_distance(trained: Path) -> None:
    with mh.open_index(trained / "index") as index:
        assert index.calibration is not None
        for target, direction in ((Side.IMAGES, "text_to_image"), (Side.TEXTS, "text_to_text")):
            answer = index.search(text="a red circle", k=60, target=target, scoring="hamming")
            curve = next(
                one.curve for name, one in index.calibration.directions.items() if name == direction
            )
            assert answer.relevance_rule == "shared_label"
            assert [hit.relevance for hit in answer.hits] == [
                round(float(curve.probabilities[hit.distance]), 6) for hit in answer.hits
            ]


def all_hits(index: SearchIndex) -> list[tuple[object, int, float | None]]:
    return [
        (hit.id, hit.distance, hit.relevance)
        for hit in index.search(text="a red circle", k=60, scoring="hamming").hits
    ]


def test_a_radius_and_a_relevance_cut_off(trained: Path) -> None:
    with mh.open_index(trained / "index") as index:
        everything = all_hits(index)
        for radius in (0, 3, 12, 99):
            expected = [one for one in everything if one[1] <= radius]
            for k in (None, 4, 60):
                found = index.search(
                    text="a red circle", radius=radius, k=k, scoring="hamming"
                ).hits
                assert [(one.id, one.distance, one.relevance) for one in found] == expected[:k]
        for least in (0.0, 0.1, 0.2):
            expected = [one for one in everything if one[2] is not None and one[2] >= least]
            found = index.search(text="a red circle", min_relevance=least, scoring="hamming").hits
            assert [(one.id, one.distance, one.relevance) for one in found] == expected
        both = index.search(
            text="a red circle", min_relevance=0.0, radius=2, scoring="hamming"
        ).hits
        assert [hit.id for hit in both] == [one[0] for one in everything if one[1] <= 2]
        reranked = index.search(
            text="a red circle", radius=4, rerank="all", rerank_by="relaxed", scoring="hamming"
        ).hits
        assert {hit.id for hit in reranked} == {one[0] for one in everything if one[1] <= 4}


def test_relevance_after_reranking_follows_the_reranked_order(trained: Path) -> None:
    with mh.open_index(trained / "index") as index:
        by_codes = index.search(text="a red circle", k=60, scoring="hamming").hits
        reranked = index.search(
            text="a red circle", k=60, rerank="all", rerank_by="relaxed", scoring="hamming"
        ).hits
    assert [hit.id for hit in reranked] != [hit.id for hit in by_codes]
    assert [hit.relevance for hit in reranked] == [hit.relevance for hit in by_codes]
    assert [hit.strength for hit in reranked] == [hit.strength for hit in by_codes]


def test_a_relevance_that_no_distance_reaches_is_refused_and_the_largest_one_is_not(
    trained: Path,
) -> None:
    with mh.open_index(trained / "index") as index:
        curve = index.curve("text", Side.IMAGES)
        assert curve is not None
        largest = float(curve.at(60)[0])
        stated = f"{int(largest * 10**6) / 10**6:g}"
        message = (
            f"min_relevance is 1.0, but the calibration of this index gives {stated} at most, to "
            "images with the query's very code: ask for that or less, or cut off by a radius"
        )
        with pytest.raises(UnavailableError, match=f"^{re.escape(message)}$"):
            index.search(text="a red circle", min_relevance=1.0, scoring="hamming")
        exact = index.search(
            text="a red circle", min_relevance=float(stated), scoring="hamming"
        ).hits
        assert all(hit.distance <= (curve.radius(float(stated), 60) or 0) for hit in exact)


def test_a_seed_below_0(trained: Path) -> None:
    with pytest.raises(InputError, match=r"^seed is -1, expected 0 to 4294967295$"):
        mh.calibrate(trained / "index", "scenes:60", seed=-1)


def test_cut_offs_that_are_none(trained: Path, scene_index: Path) -> None:
    with mh.open_index(trained / "index") as index:
        with pytest.raises(InputError, match=r"^radius is -1, expected 0 or more$"):
            index.search(text="x", radius=-1)
        message = "min_relevance is 1.1, expected a probability from 0 to 1"
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            index.search(text="x", min_relevance=1.1)
    with mh.open_index(scene_index) as index:
        assert index.calibration is None
        assert index.search(text="x", k=1).hits[0].relevance is None
        message = (
            "this index doesn't know how relevant images are at which distance: run `modalhash "
            f"calibrate {scene_index} COLLECTION`, on pairs that the model hasn't seen, at least "
            "50, or cut off by a radius"
        )
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            index.search(text="x", min_relevance=0.5, scoring="hamming")


def test_an_explanation_says_what_the_scan_says(trained: Path) -> None:
    with mh.open_index(trained / "index") as index:
        everything = all_hits(index)
        name, distance, relevance = everything[20]
        (found,) = index.explain([str(name)], text="a red circle", scoring="hamming")
        assert (found.id, found.distance, found.relevance) == (name, distance, relevance)
        assert found.profile.counts.tolist() == [
            sum(one[1] == at for one in everything) for at in range(13)
        ]
        first = 1 + sum(one[1] < distance for one in everything)
        assert found.ranks == (first, first - 1 + sum(one[1] == distance for one in everything))
        assert len(found.bits.agreeing) + distance == 12
        assert found.local_score is None
        document = found.to_json()
        assert document["expected_distance"] == 6.0
        assert sum(document["distances"]) == document["rank"]["of"] == 60
        with pytest.raises(InputError, match=r"^the index has no item 'nobody'$"):
            index.explain(["nobody"], text="a red circle")
        message = "give either a text or an image that was searched for"
        with pytest.raises(InputError, match=f"^{message}$"):
            index.explain([str(name)])


def test_a_calibration_of_another_model_is_passed_over(run: Path, index_folder: Path) -> None:
    mh.calibrate(run)
    shutil.copy(run / "calibration.json", index_folder / "model" / "calibration.json")
    with mh.open_index(index_folder) as index:
        assert index.calibration is not None
    document = json.loads((run / "calibration.json").read_text("utf-8"))
    from modalhash.files import sealed

    other = sealed(document | {"model_fingerprint": "of another"})
    (index_folder / "model" / "calibration.json").write_text(json.dumps(other), "utf-8")
    with mh.open_index(index_folder) as index:
        assert index.calibration is None
    broken = sealed(document | {"directions": [{"direction": "up"}]})
    (index_folder / "model" / "calibration.json").write_text(json.dumps(broken), "utf-8")
    with pytest.raises(DamagedArtifactError, match=r"calibration\.json is damaged"):
        mh.open_index(index_folder)


def test_an_index_without_calibration_gets_one_by_command(
    modalhash: CommandLine, run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "plain.index"
    plain = modalhash("index", run, "-o", folder, "--no-calibrate")
    assert (plain.code, "relevance:" in plain.out) == (0, False)
    refused = modalhash("search", folder, "--text", "a circle", "--min-relevance", "0.5")
    assert refused.code == 1
    assert "cut off by a radius" in refused.err
    calibrated = modalhash("calibrate", folder, SCENES)
    assert calibrated.code == 0
    assert calibrated.out.startswith(f"{STATED}\n")
    assert calibrated.out.endswith(f"kept in {folder}\n")
    assert modalhash("search", folder, "--text", "a circle", "--min-relevance", "0.1").code == 0
    document = json.loads(modalhash("calibrate", run, "--json").out)
    assert (document["format"], document["n_items"]) == (1, 12)
    made = modalhash("index", run, "-o", tmp_path / "made.index")
    assert f"relevance: {STATED}\n" in made.out


def test_search_cuts_off_and_explains(modalhash: CommandLine, trained: Path) -> None:
    ask = ("search", trained / "index", "--text", "a red circle")
    document = json.loads(modalhash(*ask, "--radius", "2", "--json").out)
    assert all(hit["distance"] <= 2 for hit in document["hits"])
    assert document["relevance_rule"] == "shared_label"
    assert "explanations" not in document
    document = json.loads(modalhash(*ask, "-k", "3", "--explain", "--json").out)
    assert [one["id"] for one in document["explanations"]] == [
        hit["id"] for hit in document["hits"]
    ]
    name = document["hits"][2]["id"]
    alone = json.loads(modalhash(*ask, "--explain", name, "--json").out)
    assert alone == {"format": 1, **document["explanations"][2]}
    told = modalhash(*ask, "--explain", name)
    assert told.code == 0
    lines = told.out.splitlines()
    assert lines[0].startswith("distances of 60 items: ")
    assert lines[0].endswith("two random codes differ in 6")
    assert name in lines
    assert f"  {alone['distance']} of 12 bits differ: " in told.out
    assert "relevant (shares a label) with probability" in told.out
    shown = modalhash(*ask, "-k", "2", "--explain")
    assert (shown.code, "match" in shown.out, "with probability" in shown.out) == (0, True, True)
    assert "relevance" not in modalhash(*ask, "-k", "2").out  # a word stands for the number
    unreachable = modalhash(*ask, "--min-relevance", "1")
    assert (unreachable.code, unreachable.out) == (1, "")
    assert "ask for that or less" in unreachable.err
    for arguments, message in (
        (("--radius", "-1"), "radius is -1, expected 0 or more"),
        (("--min-relevance", "2"), "min_relevance is 2.0, expected a probability from 0 to 1"),
        (("--explain", "nobody"), "the index has no item 'nobody'"),
    ):
        wrong = modalhash(*ask, *arguments)
        assert (wrong.code, wrong.out) == (1, "")
        assert message in wrong.err
