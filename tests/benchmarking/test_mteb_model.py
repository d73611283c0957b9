"""MTEB's own evaluation of a model of ours, on tasks made of built-in pictures; no network.

Runs where `mteb` is installed: `pytest -m slow tests/benchmarking/test_mteb_model.py`.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.benchmarking import MtebModel
from modalhash.codes import binarise
from modalhash.data import Collection
from modalhash.errors import FeatureError, UnknownNameError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny_encoder", "own_cache")]
mteb: Any = pytest.importorskip("mteb")


def describe_task(name: str, kind: str, category: str) -> Any:
    return mteb.TaskMetadata(
        name=name, type=kind, category=category, modalities=["image", "text"],
        description="A task of a test.", reference=None, eval_splits=["test"],
        dataset={"path": "none", "revision": "none"}, eval_langs=["eng-Latn"],
        main_score="ndcg_at_10" if kind == "Any2AnyRetrieval" else "accuracy", date=None,
        domains=None, task_subtypes=None, license=None, annotations_creators=None, dialect=None,
        sample_creation=None, bibtex_citation=None,
    )  # fmt: skip


@pytest.fixture
def scenes() -> Collection:
    return mh.load_collection("scenes:12")


def pictures_of(scenes: Collection) -> list[Any]:
    assert scenes.pictures is not None
    return [scenes.pictures.open(item) for item in range(len(scenes.item_ids))]


def retrieval_task(scenes: Collection, category: str) -> Any:
    """A task that finds pictures by their first captions ("t2i"), or the captions by pictures."""
    from datasets import Dataset

    base: Any = import_module("mteb.abstasks.retrieval").AbsTaskRetrieval
    assert scenes.captions is not None
    texts = [scenes.captions[start] for start in scenes.caption_starts[:-1]]
    names = {"text": [f"t{row}" for row in range(12)], "image": [f"i{row}" for row in range(12)]}
    sides = {
        "text": Dataset.from_dict({"id": names["text"], "text": texts}),
        "image": Dataset.from_dict({"id": names["image"], "image": pictures_of(scenes)}),
    }
    query, document = ("text", "image") if category == "t2i" else ("image", "text")

    class Task(base):  # type: ignore[misc]
        metadata = describe_task(f"Scenes{category}", "Any2AnyRetrieval", category)

        def load_data(self, *arguments: Any, **options: Any) -> None:
            relevant = dict(zip(names[query], names[document], strict=True))
            split: Any = {
                "queries": sides[query],
                "corpus": sides[document],
                "relevant_docs": {name: {own: 1} for name, own in relevant.items()},
                "top_ranked": None,
            }
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    return Task()


def relax(model: Any, scenes: Collection, modality: str) -> Any:
    """The numbers before the sign of all pictures, or of their first captions, one by one."""
    assert scenes.captions is not None
    if modality == "image":
        outputs = [model.image_output(picture) for picture in pictures_of(scenes)]
    else:
        starts = scenes.caption_starts[:-1]
        outputs = [model.text_output(scenes.captions[start]) for start in starts]
    return np.concatenate([model.relaxed_features(output.pooled, modality) for output in outputs])


def expected_recall(queries: Any, documents: Any, prefix: str, k: int) -> float:
    """Share of queries whose own document is among the k best; ties by name, backwards."""
    scores = queries @ np.where(documents >= 0, 1, -1).T
    scores = scores / np.abs(queries).sum(axis=1, keepdims=True)
    found = 0
    for query, row in enumerate(scores.round(6)):
        order = sorted(range(len(row)), key=lambda item: (row[item], f"{prefix}{item}"))[::-1]
        found += query in order[:k]
    return found / len(scores)


@pytest.mark.parametrize("scoring", ["hamming", "asymmetric"])
@pytest.mark.parametrize("category", ["t2i", "i2t"])
def test_mteb_counts_what_a_plain_loop_counts(
    scenes: Collection, scene_run: Path, category: str, scoring: str
) -> None:
    adapter = MtebModel(scene_run, scoring=scoring)
    result = mteb.evaluate(
        adapter, retrieval_task(scenes, category), cache=None, show_progress_bar=False
    )
    (scores,) = result.task_results[0].scores["test"]
    sides = [relax(adapter.model, scenes, side) for side in ("text", "image")]
    queries, documents = sides if category == "t2i" else sides[::-1]
    if scoring == "hamming":
        queries = np.where(queries >= 0, 1.0, -1.0)
    for k in (1, 3, 5):
        prefix = "i" if category == "t2i" else "t"
        recall = expected_recall(queries, documents, prefix, k)
        np.testing.assert_allclose(scores[f"recall_at_{k}"], recall, rtol=0, atol=1e-5)
    assert result.model_name == f"modalhash/cca-sign-12-{scoring}"
    assert adapter.model.fingerprint.startswith(result.model_revision)


def test_zero_shot_classes_are_codes_and_pictures_keep_their_numbers(
    scenes: Collection, scene_run: Path
) -> None:
    from datasets import Dataset

    base: Any = import_module("mteb.abstasks.zeroshot_classification").AbsTaskZeroShotClassification
    labels = ["a red square", "a blue circle", "a green star"]

    class Task(base):  # type: ignore[misc]
        metadata = describe_task("ScenesZeroShot", "ZeroShotClassification", "i2t")
        input_column_name = "image"
        label_column_name = "label"

        def load_data(self, *arguments: Any, **options: Any) -> None:
            rows = {"image": pictures_of(scenes), "label": [row % 3 for row in range(12)]}
            self.dataset = {"test": Dataset.from_dict(rows)}
            self.data_loaded = True

        def get_candidate_labels(self) -> list[str]:
            return labels

    adapter = MtebModel(scene_run)
    result = mteb.evaluate(adapter, Task(), cache=None, show_progress_bar=False)
    pictures = relax(adapter.model, scenes, "image")
    outputs = [adapter.model.text_output(text) for text in labels]
    names = np.concatenate(
        [adapter.model.relaxed_features(output.pooled, "text") for output in outputs]
    )
    scores = (pictures @ np.where(names >= 0, 1, -1).T).round(5)
    accuracy = float(np.mean(scores.argmax(axis=1) == np.arange(12) % 3))
    np.testing.assert_allclose(
        result.task_results[0].scores["test"][0]["accuracy"], accuracy, rtol=0, atol=1e-6
    )


def test_queries_keep_numbers_and_documents_are_signs(scene_run: Path) -> None:
    adapter, by_bits = MtebModel(scene_run), MtebModel(scene_run, scoring="hamming")
    batches = [{"text": ["a red square", "two circles"]}, {"text": ["a star"]}]
    options: dict[str, Any] = {"task_metadata": None, "hf_split": "test", "hf_subset": "default"}
    numbers = adapter.encode(batches, prompt_type=mteb.types.PromptType.query, **options)
    signs = adapter.encode(batches, prompt_type=mteb.types.PromptType.document, **options)
    assert numbers.shape == (3, 12)
    assert set(np.unique(signs)) == {-1, 1}
    np.testing.assert_array_equal(binarise(numbers), signs)
    np.testing.assert_array_equal(
        by_bits.encode(batches, prompt_type=mteb.types.PromptType.query, **options), signs
    )
    assert not np.array_equal(numbers, signs)
    np.testing.assert_array_equal(adapter.encode(batches, **options), signs)
    scores = adapter.similarity(numbers, signs)
    expected = numbers @ signs.T / np.abs(numbers).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(adapter.similarity_pairwise(numbers, signs), np.diag(scores))


def test_texts_and_pictures_together_are_their_sum(scene_run: Path, scenes: Collection) -> None:
    adapter = MtebModel(scene_run)
    picture = pictures_of(scenes)[0]
    options: dict[str, Any] = {
        "task_metadata": None, "hf_split": "test", "hf_subset": "default", "prompt_type": "query",
    }  # fmt: skip
    text, image, both = (
        adapter.encode([batch], **options)[0]
        for batch in (
            {"text": ["a red square"]},
            {"image": [picture]},
            {"text": ["a red square"], "image": [picture]},
        )
    )
    expected = text / np.linalg.norm(text) + image / np.linalg.norm(image)
    np.testing.assert_allclose(both, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(
        FeatureError, match=r"^MTEB gives audio, expected texts or pictures: the mod"
    ):
        adapter.encode([{"audio": [None]}], **options)
    with pytest.raises(UnknownNameError, match="cosine"):
        MtebModel(scene_run, scoring="cosine")
