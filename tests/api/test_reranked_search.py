"""Searches of two stages in an index that lives: built, added to, deleted from, opened again."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import modalhash as mh
from modalhash.artifacts import CollectionCodes, load_model
from modalhash.errors import DamagedArtifactError, InputError, UnknownNameError
from tests.oracles.command_line import CommandLine
from tests.oracles.token_encoder import TOKEN_TABLES

SCENES, N_BITS = "scenes:40", 12
SETTINGS: dict[str, Any] = {
    "hidden_width": 16, "hug_trunk_width": 8, "hug_trunk_heads": 2, "hug_width": 8,
    "hug_concepts": 3, "fine_subspaces": 2, "fine_codewords": 5, "fine_class": False,
    "fine_code_share": 0.3, "batch_size": 16, "epochs": 3, "image_token_width": 0,
    "image_token_grid": 0, "text_token_width": 0,
}  # fmt: skip
ASKED = "a red circle above a blue square"


@pytest.fixture(autouse=True)
def _token_encoder(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    for table, entry in TOKEN_TABLES:
        monkeypatch.setitem(table, "tokens", entry)


@pytest.fixture(scope="module")
def fine_run(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Path:
    """The folder of a small HuggingHash+."""
    folder = tmp_path_factory.mktemp("runs") / "fine"
    with pytest.MonkeyPatch.context() as patch:
        for table, entry in TOKEN_TABLES:
            patch.setitem(table, "tokens", entry)
        mh.train(
            SCENES, output=folder, method="hugging-hash-plus", n_bits=N_BITS, encoder="tokens",
            preset=None, settings=SETTINGS, cache=session_cache,
        )  # fmt: skip
    return folder


def plain_ranking(
    run: Path, shortlist: int, items: np.ndarray[Any, Any]
) -> list[tuple[str, float]]:
    """Ids and scores of the shortlist's pictures for the question, by loops."""
    model, scenes = load_model(run), mh.load_collection(SCENES)
    codes = CollectionCodes(model, scenes)
    output = model.text_output(ASKED)
    assert output.tokens is not None
    assert output.token_mask is not None
    asked = model.encode_texts([ASKED])[0]
    queries = model.fine_queries(
        output.pooled, "text", tokens=output.tokens, token_mask=output.token_mask
    )[0]
    fine, books = codes.fine_codes(items, "image"), model.fine_books.codewords
    hashes = codes.image(items)
    distances = [sum(int(byte).bit_count() for byte in asked ^ code) for code in hashes]
    order = sorted(range(len(items)), key=lambda row: (distances[row], row))[:shortlist]
    scored = []
    for row in order:
        local = sum(float(queries[s] @ books[s, fine[row, s]]) for s in range(len(books))) / 3
        scored.append((row, 0.3 * (1 - 2 * distances[row] / N_BITS) + 0.7 * local))
    scored.sort(key=lambda one: -one[1])
    return [(str(scenes.item_ids[items[row]]), score) for row, score in scored]


@pytest.mark.parametrize("shortlist", [5, "all"])
def test_hits_are_those_of_plain_loops(
    fine_run: Path, tmp_path: Path, shortlist: int | str
) -> None:
    with mh.build_index(fine_run, output=tmp_path / "index") as index:
        answer = index.search(ASKED, k=5, rerank=shortlist, scoring="hamming")
        length = 40 if shortlist == "all" else int(shortlist)
        expected = plain_ranking(fine_run, length, np.arange(40))[:5]
        assert [str(hit.id) for hit in answer.hits] == [identity for identity, _ in expected]
        assert_allclose([hit.score for hit in answer.hits], [one for _, one in expected], atol=2e-6)
        assert all("_fine" not in hit.metadata for hit in answer.hits)
        # Each item keeps one byte a sub-space: 3 concepts of 2.
        kept = index.sides[answer.target].metadata([str(answer.hits[0].id)])[0]["_fine"]
        assert len(base64.b64decode(kept)) == 6


def test_a_shortlist_shorter_than_the_answer_is_as_long(fine_run: Path, tmp_path: Path) -> None:
    with mh.build_index(fine_run, output=tmp_path / "index") as index:
        short, equal = (
            index.search(ASKED, k=6, rerank=length, scoring="hamming").hits for length in (2, 6)
        )
        assert short == equal
        plain = index.search(ASKED, k=6, scoring="hamming").hits
        assert sorted(str(hit.id) for hit in equal) == sorted(str(hit.id) for hit in plain)
        assert [hit.score for hit in plain] == [
            round(1 - hit.distance / N_BITS, 6) for hit in plain
        ]


def test_added_and_deleted_items_are_reranked_too(fine_run: Path, tmp_path: Path) -> None:
    scenes = mh.load_collection(SCENES)
    folder = tmp_path / "index"
    mh.build_index(fine_run, output=folder, split="train").close()
    mh.add_to_index(folder, SCENES, split="dev")
    train, dev = scenes.split("train"), scenes.split("dev")
    items = np.concatenate([train, dev])
    with mh.open_index(folder) as index:
        found = [
            str(hit.id) for hit in index.search(ASKED, k=100, rerank="all", scoring="hamming").hits
        ]
        expected = [identity for identity, _ in plain_ranking(fine_run, 100, items)]
        assert found == expected
        index.delete([scenes.item_ids[dev[0]], scenes.item_ids[train[1]]])
        index.compact()
    left = np.array([item for item in items if item not in (dev[0], train[1])])
    with mh.open_index(folder) as index:
        answer = index.search(ASKED, k=100, rerank="auto", scoring="hamming")
        found = [str(hit.id) for hit in answer.hits]
        assert found == [identity for identity, _ in plain_ranking(fine_run, 100, left)]
        texts = index.search(ASKED, k=3, rerank=20, target="texts", where="item != 'nothing'")
        assert len(texts.hits) == 3
        scores = [hit.score for hit in texts.hits]
        assert scores == sorted(scores, reverse=True)


def test_features_rerank_within_a_modality(fine_run: Path, tmp_path: Path) -> None:
    model, scenes = load_model(fine_run), mh.load_collection(SCENES)
    with mh.build_index(fine_run, output=tmp_path / "index", keep_features="int8") as index:
        answer = index.search(ASKED, k=5, rerank="all", rerank_by="features", target="texts")
        rows = np.arange(len(scenes.caption_ids))
        features = CollectionCodes(model, scenes).features.text.pooled(rows).astype(np.float64)
        asked = model.text_output(ASKED).pooled[0]
        cosines = features @ asked / np.linalg.norm(features, axis=1) / np.linalg.norm(asked)
        assert_allclose([hit.score for hit in answer.hits], np.sort(cosines)[::-1][:5], atol=0.02)
        message = (
            "features of texts have 16 numbers and those of images 12: they can't be compared; "
            "search within one modality, or rerank by relaxed"
        )
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            index.search(ASKED, rerank=5, rerank_by="features")
    with mh.open_index(tmp_path / "index") as index:
        assert index.keeps_features


def test_relaxed_queries_need_nothing_kept(
    scene_index: Path, scene_run: Path, tiny_encoder: None
) -> None:
    model = load_model(scene_run)
    with mh.open_index(scene_index) as index:
        answer = index.search(ASKED, k=4, rerank="all", rerank_by="relaxed", scoring="hamming")
        relaxed = model.relaxed_features(model.text_output(ASKED).pooled, "text")[0]
        side = index.sides[answer.target]
        signs = [
            [1 if row[bit // 8] >> bit % 8 & 1 else -1 for bit in range(N_BITS)]
            for row in side.reconstruct(side.ids)
        ]
        scores = sorted((float(np.dot(relaxed, one)) for one in signs), reverse=True)
        assert_allclose([hit.score for hit in answer.hits], scores[:4], rtol=1e-5, atol=1e-5)


def test_an_index_with_nothing_to_rerank_by_names_the_ways_out(
    scene_index: Path, tiny_encoder: None, modalhash: CommandLine
) -> None:
    message = (
        "the index keeps nothing to rerank by: build it with --keep-features int8, or of a model "
        "that makes finer codes (--method hugging-hash-plus), or rerank by relaxed, which needs "
        "nothing"
    )
    with mh.open_index(scene_index) as index:
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            index.search(ASKED, rerank="auto")
        with pytest.raises(InputError, match=r"^the model of the index makes no finer codes: "):
            index.search(ASKED, rerank=3, rerank_by="fine")
        with pytest.raises(UnknownNameError, match="rerank_by"):
            index.search(ASKED, rerank=3, rerank_by="colour")
        with pytest.raises(InputError, match=r"^rerank is 'most', "):
            index.search(ASKED, rerank="most")
    done = modalhash("search", scene_index, "--text", ASKED, "--rerank", "5")
    assert done.code == 1
    assert "build it with --keep-features int8" in done.err.replace("\n", " ")


def test_damaged_finer_codes_are_told(fine_run: Path, tmp_path: Path) -> None:
    with mh.build_index(fine_run, output=tmp_path / "index") as index:
        side = next(iter(index.sides.values()))
        identity = side.ids[0]
        code, metadata = side.reconstruct([identity]), side.metadata([identity])[0]
        for kept, error, message in (
            (None, InputError, "an item of the index keeps nothing to rerank by: "),
            ("AAAA", DamagedArtifactError, "an item of the index keeps 3 bytes to rerank by, "),
            ("no!", DamagedArtifactError, "an item of the index keeps 0 bytes to rerank by, "),
        ):
            changed = {key: value for key, value in metadata.items() if key != "_fine"}
            if kept is not None:
                changed["_fine"] = kept
            side.upsert([identity], code, [changed])
            with pytest.raises(error, match=f"^{message}"):
                index.search(ASKED, rerank="all")


def test_the_command_line_reranks(fine_run: Path, tmp_path: Path, modalhash: CommandLine) -> None:
    folder = tmp_path / "index"
    done = modalhash("index", fine_run, "-o", folder, "--keep-features", "int8")
    assert done.code == 0, done.err
    done = modalhash("search", folder, "--text", ASKED, "-k", "3", "--rerank", "auto", "--json")
    hits = json.loads(done.out)["hits"]
    expected = plain_ranking(fine_run, 40, np.arange(40))[:3]
    assert [hit["id"] for hit in hits] == [identity for identity, _ in expected]
    done = modalhash("search", folder, "--text", ASKED, "-k", "3", "--rerank", "9")
    assert "score" in done.out
    picture = next(folder.glob("pictures/*.png"))
    done = modalhash(
        "search", folder, "--image", picture, "--rerank", "all", "--rerank-by", "features",
        "--target", "images", "-k", "1", "--json",
    )  # fmt: skip
    (hit,) = json.loads(done.out)["hits"]
    assert hit["score"] == pytest.approx(1, abs=1e-3)
