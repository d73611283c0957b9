"""Codes and labels of other programs, scored: against values worked out by hand, and refused."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import modalhash as mh
from modalhash.errors import DamagedArtifactError, InputError, ShapeError, UnknownNameError

Array = NDArray[Any]

# Twelve items at distances 0 to 11 from the query; those at ranks 1 and 10 share its label.
QUERY = np.ones((1, 16))
RANKED = np.array([[-1] * rank + [1] * (16 - rank) for rank in range(12)])
RELEVANT = np.array([[1, 0] if rank in (0, 9) else [0, 1] for rank in range(12)])
BY_HAND = {
    "first_k_relevant": (1 / 1 + 2 / 10) / 2,
    "truncated": (1 / 1) / 1,
    "standard": (1 / 1) / 2,
    "answerable": (1 / 1) / 1,
}


def value(report: Any, convention: str, direction: str = "image_to_text") -> float:
    found: float = report.value(
        "map", direction, relevance="shared_label", k=5, convention=convention
    )
    return found


def as_signs(signs: Array) -> Array:
    return signs


def as_bits(signs: Array) -> Array:
    return (signs > 0).astype(np.int64)


def as_bytes(signs: Array) -> Array:
    return np.packbits(signs > 0, axis=1, bitorder="little")


def as_big_bytes(signs: Array) -> Array:
    return np.packbits(signs > 0, axis=1)


@pytest.mark.parametrize("convention", BY_HAND)
@pytest.mark.parametrize(
    ("form", "options"),
    [
        (as_signs, {}),
        (as_bits, {}),
        (as_bytes, {"n_bits": 16}),
        (as_big_bytes, {"n_bits": 16, "bit_order": "big"}),
    ],
)
def test_one_ranking_four_answers(
    form: Callable[[Array], Array], options: dict[str, Any], convention: str
) -> None:
    report = mh.score(
        form(QUERY), form(RANKED), query_labels=[[1, 0]], database_labels=RELEVANT, top_k=[5],
        conventions=[convention], **options,
    )  # fmt: skip
    np.testing.assert_allclose(value(report, convention), BY_HAND[convention], rtol=1e-12, atol=0)


def test_classes_by_number_are_the_same_labels() -> None:
    report = mh.score(
        QUERY, RANKED, query_labels=[4], database_labels=RELEVANT @ [4, 9], top_k=[5],
        conventions=["standard"],
    )  # fmt: skip
    np.testing.assert_allclose(value(report, "standard"), 1 / 2, rtol=1e-12, atol=0)
    assert report.notes == (
        "query codes (an array): -1 and +1, one column a bit",
        "database codes (an array): -1 and +1, one column a bit",
        "labels: one class a row, 2 classes",
    )


def test_pairs_and_targets_rank_the_own_row() -> None:
    queries = RANKED[[0, 3]]
    # Row 3 differs from itself in 0 bits, from 2 and 4 in one each: rank 1.
    report = mh.score(queries, RANKED, query_targets=[1, 4], direction="text_to_image")
    # Query 0 has row 0 before row 1; query 3 has row 3, then rows 2 and 4 tied: rank 2 or 3.
    found = report.value("mean_rank", "text_to_image", relevance="pair")
    np.testing.assert_allclose(found, (2 + 2.5) / 2, rtol=1e-12, atol=0)
    own = mh.score(RANKED, RANKED, pairs=True)
    assert own.value("recall", "image_to_text", relevance="pair", k=1) == 1.0


def test_files_of_several_kinds(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    np.save(tmp_path / "q.npy", QUERY)
    np.savez(tmp_path / "both.npz", ranked=RANKED, labels=RELEVANT)
    scipy_io.savemat(tmp_path / "labels.mat", {"queryL": [[1.0, 0.0]], "other": [1]})
    report = mh.score(
        tmp_path / "q.npy", f"{tmp_path / 'both.npz'}:ranked", top_k=[5],
        query_labels=f"{tmp_path / 'labels.mat'}:queryL",
        database_labels=f"{tmp_path / 'both.npz'}:labels", conventions=["first_k_relevant"],
    )  # fmt: skip
    np.testing.assert_allclose(value(report, "first_k_relevant"), 0.6, rtol=1e-12, atol=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What `modalhash encode` writes, for two pictures with two texts and one text."""
    made = tmp_path / "codes"
    made.mkdir()
    np.save(made / "image_codes.npy", np.array([[0b0011], [0b1100]], np.uint8))
    np.save(made / "text_codes.npy", np.array([[0b0111], [0b1111], [0b1100]], np.uint8))
    np.save(made / "labels.npy", np.array([[1, 0], [0, 1]], np.uint8))
    manifest = {
        "format": 1, "n_bits": 4, "bit_order": "little", "model_fingerprint": "one",
        "image_ids": ["a", "b"], "text_images": [0, 0, 1],
    }  # fmt: skip
    (made / "codes.json").write_text(json.dumps(manifest), encoding="utf-8")
    return made


def test_a_folder_knows_bits_labels_and_pairs(folder: Path) -> None:
    report = mh.score(folder, folder, pairs=True, top_k=[None])
    assert (report.n_bits, report.counts) == (4, {"queries": 2, "database": 3})
    # Picture a: its texts at distances 1 and 2, b's at 4. Picture b: its own at 0, a's at 3 and 2.
    for relevance in ("shared_label", "pair"):
        found = report.value("map", "image_to_text", relevance=relevance)
        np.testing.assert_allclose(found, 1.0, rtol=1e-12, atol=0)
    # The other way round: text 2 of a is at distance 2 from both pictures.
    back = mh.score(folder, folder, pairs=True, direction="text_to_image", top_k=[None])
    found = back.value("map", "text_to_image", relevance="pair")
    np.testing.assert_allclose(found, (1 + (1 + 1 / 2) / 2 + 1) / 3, rtol=1e-12, atol=0)
    assert "queries' own items are in the database: they count under labels too" in report.notes
    assert report.about["query_codes"] == "image codes of codes"


def test_bit_statistics_are_told() -> None:
    report = mh.score([[1, 1], [-1, 1]], [[1, -1]], query_labels=[0, 0], database_labels=[0])
    assert report.about["query_statistics"] == {
        "mean_entropy": (1 + 0) / 2, "mean_correlation": 0.0, "n_constant_bits": 1,
        "n_distinct_codes": 2,
    }  # fmt: skip


LABELS: dict[str, Any] = {"query_labels": [[1, 0]], "database_labels": RELEVANT}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {}, InputError,
            ("nothing says what is relevant: give labels of both sides (--query-labels, "
            "--database-labels), pairs (--pairs) or targets (--targets)"),
        ),
        (
            {"query_labels": [[1, 0]]}, InputError,
            "database_labels is missing: relevance by labels needs both sides' labels",
        ),
        (
            {"pairs": True}, ShapeError,
            ("pairs means that row i answers query i, but there are 1 queries and 12 database "
            "rows: give the rows in query_targets (--targets)"),
        ),
        (
            {"pairs": True, "query_targets": [1]}, InputError,
            "give either pairs or query_targets, not both",
        ),
        (
            {"query_targets": [12]}, InputError,
            "query_targets holds rows 1 to 12 of 12: it counts from 1 (MATLAB); subtract 1",
        ),
        (
            {"query_codes": np.ones((1, 8)), **LABELS}, ShapeError,
            ("query_codes has 8 bits (-1 and +1, one column a bit), database_codes has 16 (-1 and "
            "+1, one column a bit): codes of one length compare"),
        ),
        (
            {"query_labels": [[1, 0], [0, 1]], "database_labels": RELEVANT}, ShapeError,
            "query_labels has 2 rows for 1 codes: one row a code",
        ),
        (
            {"direction": "up", **LABELS}, UnknownNameError,
            ("unknown direction 'up'; known: image_to_image, image_to_text, text_to_image, "
            "text_to_text"),
        ),
    ],
)  # fmt: skip
def test_bad_input_is_named(options: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"query_codes": QUERY, "database_codes": RANKED, **options}
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        mh.score(**arguments)


def test_a_target_that_counts_from_1_needs_more_than_a_first_row() -> None:
    report = mh.score(QUERY, RANKED, query_targets=np.array([11.0]))
    assert report.value("mean_rank", "image_to_text", relevance="pair") == 12.0


def test_bad_files_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "both.npz", ranked=RANKED, labels=RELEVANT)
    (tmp_path / "text.npy").write_text("no array", encoding="utf-8")
    lost, both = tmp_path / "lost.npy", tmp_path / "both.npz"
    for source, message in (
        (lost, f"query_codes: there is no file {lost}"),
        (both, f"query_codes: {both} has labels, ranked: say which, as in both.npz:labels"),
        (f"{both}:codes", f"query_codes: {both} has no array 'codes'; it has labels, ranked"),
    ):
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            mh.score(source, RANKED, **LABELS)
    damaged = f"query_codes: {tmp_path / 'text.npy'} can't be read as .npy"
    reason = "it isn't an array that np.save wrote"
    with pytest.raises(InputError, match=f"^{re.escape(f'{damaged}: {reason}')}$"):
        mh.score(tmp_path / "text.npy", RANKED, **LABELS)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InputError, match="Object arrays cannot be loaded"):
        mh.score(tmp_path / "objects.npy", RANKED, **LABELS)


def test_bad_folders_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=re.escape("has 4 bits, but n_bits is 8: leave it out")):
        mh.score(folder, folder, n_bits=8)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(DamagedArtifactError, match=r"is no codes folder: it has no codes\.json$"):
        mh.score(other, folder)
    for file in folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((other / "codes.json").read_text(encoding="utf-8"))
    manifest["model_fingerprint"] = "another"
    (other / "codes.json").write_text(json.dumps(manifest), encoding="utf-8")
    message = (
        "image codes of codes and text codes of other were made by two models, so their distances "
        "mean nothing: encode both with one, or train the newer model with --compatible-with"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        mh.score(folder, other)


def test_scoring_loads_no_torch() -> None:
    program = (
        "import sys, modalhash as mh; mh.score([[1]], [[1]], pairs=True); "
        "print('torch' in sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120
    )
    assert ended.stdout.strip() == "False"
