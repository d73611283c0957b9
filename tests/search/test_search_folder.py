"""An index folder answers texts and pictures by itself, and refuses what it can't vouch for."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import modalhash as mh
from modalhash.codes import hamming_distances
from modalhash.data import Collection
from modalhash.errors import (
    ArtifactError,
    DamagedArtifactError,
    InputError,
    NewerFormatError,
    StorageError,
    UnknownNameError,
)
from modalhash.files import sealed
from modalhash.index import INDEX_CLASSES, KINDS, build_index
from modalhash.search import (
    Answer,
    SearchIndex,
    Side,
    SideContent,
    build_search_index,
    open_search_index,
)
from tests.oracles.plain_model import linear_tower, plain_model

pytestmark = pytest.mark.usefixtures("tiny_encoder", "own_cache")

WAY_OUT = "keep what is whole with `modalhash repair`, or make the index again"


@pytest.fixture(scope="session")
def scenes() -> Collection:
    return mh.load_collection("scenes:60")


@pytest.fixture
def index(scene_index: Path) -> Iterator[SearchIndex]:
    with open_search_index(scene_index) as opened:
        yield opened


@pytest.fixture
def copied(scene_index: Path, tmp_path: Path) -> Path:
    """A copy of the index that may be damaged."""
    shutil.copytree(scene_index, tmp_path / "copy")
    return tmp_path / "copy"


def rewrite(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(sealed(document)), encoding="utf-8")


def test_an_answer_is_the_sorted_list_of_distances(index: SearchIndex, scenes: Collection) -> None:
    answer = index.search(text="a red circle", k=60, scoring="hamming")
    query = index.model.encode_texts(["a red circle"])
    assert scenes.pictures is not None
    codes = index.model.encode_images([scenes.pictures.open(item) for item in range(60)])
    distances = hamming_distances(query, codes)[0].tolist()
    expected = sorted(range(60), key=lambda item: (distances[item], item))
    assert [hit.id for hit in answer.hits] == [scenes.item_ids[item] for item in expected]
    assert [hit.distance for hit in answer.hits] == [distances[item] for item in expected]
    assert [hit.score for hit in answer.hits] == [
        round(1 - distances[item] / 12, 6) for item in expected
    ]
    assert (answer.target, answer.n_bits, answer.query) == (
        Side.IMAGES, 12, {"text": "a red circle"},
    )  # fmt: skip


def test_a_hit_says_what_is_known_of_it(index: SearchIndex, scenes: Collection) -> None:
    hit = index.search(text="a red circle", k=1).hits[0]
    item = scenes.item_ids.index(str(hit.id))
    assert scenes.captions is not None
    assert hit.caption == scenes.captions[5 * item]
    assert scenes.labels is not None
    labels = [
        name for name, has in zip(scenes.label_names, scenes.labels[item], strict=True) if has
    ]
    stated = {name: values[item] for name, values in scenes.metadata.items()}
    assert hit.metadata == {"labels": labels} | stated
    hit = index.search(text="a red circle", k=1, target="texts").hits[0]
    row = scenes.caption_ids.index(str(hit.id))
    assert hit.caption == scenes.captions[row]
    assert hit.metadata["item"] == scenes.item_ids[row // 5]


def test_a_picture_finds_texts_and_with_a_target_pictures(
    index: SearchIndex, scenes: Collection, tmp_path: Path
) -> None:
    assert scenes.pictures is not None
    picture = scenes.pictures.open(7)
    picture.save(tmp_path / "seven.png")
    by_file = index.search(image=tmp_path / "seven.png", k=3)
    by_name = index.search(image=str(tmp_path / "seven.png"), k=3)
    by_picture = index.search(image=picture, k=3)
    assert by_file.target is by_picture.target is Side.TEXTS
    assert by_file.hits == by_name.hits == by_picture.hits
    assert by_file.query == {"image": str(tmp_path / "seven.png")}
    assert by_picture.query == {"image": "a picture"}
    like = index.search(image=picture, k=60, target=Side.IMAGES)
    nearest = [hit.id for hit in like.hits if hit.distance == 0]
    assert scenes.item_ids[7] in nearest


def test_k_is_clipped_to_what_is_there(index: SearchIndex) -> None:
    assert len(index.search(text="a star", k=1000).hits) == 60
    assert len(index.search(text="a star", k=1000, target="texts").hits) == 300
    assert len(index.search(text="a star").hits) == 10
    assert len(index) == 360


def test_wrong_questions_are_refused(index: SearchIndex) -> None:
    questions: list[tuple[str, Callable[[], Answer]]] = [
        ("give either a text or an image to search for", index.search),
        (
            "give either a text or an image to search for",
            lambda: index.search("a dog", Image.new("RGB", (2, 2))),
        ),
        (
            "the text to search for is empty: give at least one word",
            lambda: index.search(text=" "),
        ),
        ("k is 0, expected at least 1", lambda: index.search(text="a dog", k=0)),
        (
            "target is 'sounds', expected images or texts",
            lambda: index.search(text="a dog", target="sounds"),
        ),
    ]
    for message, search in questions:
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            search()


def test_drawn_pictures_lie_in_the_folder_and_move_with_it(
    copied: Path, scenes: Collection
) -> None:
    moved = copied.parent / "moved"
    copied.rename(moved)
    with open_search_index(moved) as index:
        hit = index.search(text="a red circle", k=1).hits[0]
        item = scenes.item_ids.index(str(hit.id))
        assert hit.image == str(moved.resolve() / "pictures" / f"{item:07d}.png")
        stored = index.sides[Side.IMAGES].metadata([str(hit.id)])[0]["image"]
        assert stored == f"pictures/{item:07d}.png"
        assert scenes.pictures is not None
        with Image.open(hit.image) as picture:
            np.testing.assert_array_equal(
                np.asarray(picture), np.asarray(scenes.pictures.open(item))
            )


def test_the_document_of_an_answer_is_the_stated_one() -> None:
    from modalhash.search import Hit, Strength

    hit = Hit("a.jpg", 3, 0.9, "a dog", "photos/a.jpg", {"year": 2001}, 0.75, Strength.STRONG)
    answer = Answer({"text": "dogs"}, Side.IMAGES, 30, (hit,), "pair")
    assert answer.to_json() == {
        "format": 1,
        "query": {"text": "dogs"},
        "target": "images",
        "n_bits": 30,
        "scoring": "hamming",
        "relevance_rule": "pair",
        "hits": [
            {
                "id": "a.jpg",
                "distance": 3,
                "score": 0.9,
                "caption": "a dog",
                "image": "photos/a.jpg",
                "metadata": {"year": 2001},
                "relevance": 0.75,
                "strength": "strong",
            }
        ],
    }


def tiny_index(folder: Path, *, overwrite: bool = False, bit: float = 1.0) -> SearchIndex:
    """Build an index of two texts on arrays."""
    tower = linear_tower([[bit]], [0.0])
    model = plain_model(tower, tower)
    codes = model.encode_features(np.array([[1.0], [-1.0]]), "text")
    content = SideContent([10, 20], codes, [{"caption": "up"}, {"caption": "down"}])
    return build_search_index(
        model, {Side.TEXTS: content}, folder, collection={"name": "two"}, overwrite=overwrite
    )


def test_one_side_is_enough_and_ids_may_be_numbers(tmp_path: Path) -> None:
    with tiny_index(tmp_path / "index") as index:
        code = index.model.encode_features(np.array([[-2.0]]), "image")
        answer = index.search(code=code, k=2, target=Side.TEXTS)
        assert [(hit.id, hit.distance, hit.caption) for hit in answer.hits] == [
            (20, 0, "down"), (10, 1, "up"),
        ]  # fmt: skip
        assert json.loads(json.dumps(answer.to_json()))["hits"][0]["id"] == 20
        message = "this index holds no images: build it with both sides"
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            index.search(text="up")


def test_an_index_is_replaced_only_when_asked(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    tiny_index(folder).close()
    message = f"{folder} exists already: replace it with --overwrite, or choose another folder"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        tiny_index(folder)
    (folder / "old").touch()
    with tiny_index(folder, overwrite=True, bit=2.0) as index:
        assert not (folder / "old").exists()
        assert index.model.fingerprint == open_search_index(folder).model.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_another_folder_is_never_touched(tmp_path: Path, overwrite: bool) -> None:
    folder = tmp_path / "photos"
    (folder / "model").mkdir(parents=True)
    (folder / "manifest.json").write_text('{"name": "web page"}', encoding="utf-8")
    message = f"{folder} exists already and is no search index: choose another folder"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        tiny_index(folder, overwrite=overwrite)
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model"]
    file = tmp_path / "file"
    file.write_text("precious", encoding="utf-8")
    with pytest.raises(InputError, match="is no search index"):
        tiny_index(file, overwrite=overwrite)
    assert file.read_text(encoding="utf-8") == "precious"


def test_an_empty_folder_may_become_an_index(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    with tiny_index(tmp_path / "index") as index:
        assert len(index) == 2


def test_an_unknown_kind_is_refused_before_any_work(scene_run: Path, tmp_path: Path) -> None:
    known = ", ".join(sorted([*KINDS, *INDEX_CLASSES]))
    message = f"unknown kind of index 'flta': did you mean 'flat'? Known: {known}"
    with pytest.raises(UnknownNameError, match=f"^{re.escape(message)}$"):
        mh.build_index(scene_run, output=tmp_path / "index", kind="flta")
    assert not (tmp_path / "index").exists()


def test_a_full_disk_leaves_the_old_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "index"
    tiny_index(folder).close()
    before = {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    def no_space(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", no_space)
        with pytest.raises(StorageError, match=r"^can't write .*: No space left on device; "):
            tiny_index(folder, overwrite=True)
    assert {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_folder_that_is_no_index_is_said(tmp_path: Path) -> None:
    message = f"{tmp_path} is no index folder: it has no manifest.json"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        open_search_index(tmp_path)


def test_a_bare_index_is_no_search_index(copied: Path) -> None:
    message = (
        f"{copied / 'images'} is no search index: its manifest.json is of another sort; give the "
        "folder that `modalhash index` made"
    )
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        open_search_index(copied / "images")


def test_a_changed_manifest_is_found(copied: Path) -> None:
    path = copied / "manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace("scenes", "sceens"), encoding="utf-8")
    message = f"{path} is damaged: it was changed; make the index again"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        open_search_index(copied)


def test_a_newer_index_is_refused_by_version(copied: Path) -> None:
    rewrite(copied, format=2, modalhash="9.1")
    message = (
        f"{copied / 'manifest.json'} has format 2 (written by modalhash 9.1); this version reads "
        "index formats up to 1: upgrade modalhash"
    )
    with pytest.raises(NewerFormatError, match=f"^{re.escape(message)}$"):
        open_search_index(copied)


def test_an_unknown_side_is_refused(copied: Path) -> None:
    rewrite(copied, sides=["images", "sounds"])
    with pytest.raises(DamagedArtifactError, match=r"is no search index: its manifest\.json is of"):
        open_search_index(copied)


def test_a_missing_part_is_named(copied: Path) -> None:
    file = next((copied / "texts").rglob("codes.npy"))
    file.unlink()
    message = f"{file} is missing; {WAY_OUT}"
    with pytest.raises(DamagedArtifactError, match=f"^{re.escape(message)}$"):
        open_search_index(copied)


def test_a_model_of_another_fingerprint_is_refused(copied: Path, tmp_path: Path) -> None:
    other = mh.train(
        "scenes:60", output=tmp_path / "other", method="random", n_bits=12, encoder="tiny"
    )
    shutil.rmtree(copied / "model")
    shutil.copytree(tmp_path / "other", copied / "model")
    message = f"{copied / 'model'} isn't the model this index was made with: make the index again"
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        open_search_index(copied)
    shutil.rmtree(copied / "texts")
    rows = np.arange(3)
    codes = other.encode_features(np.zeros((3, 16), np.float32), "text")
    build_index(rows, codes, 12, model_fingerprint=other.fingerprint).save(copied / "texts")
    rewrite(copied, model_fingerprint=other.fingerprint)
    with pytest.raises(ArtifactError, match=re.escape(str(copied / "images"))):
        open_search_index(copied)
