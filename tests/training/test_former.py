"""Training against a former model's codes: each model's queries search what the other stored."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from modalhash.codes import binarise
from modalhash.errors import SettingError
from modalhash.methods.base import CaptionChoice, GradientMethod, Needs
from modalhash.methods.compatibility import check_compatible_method
from modalhash.methods.hasher import Hasher, HashTower
from modalhash.methods.settings import make_method
from modalhash.training import TrainingData, TrainingPlan, train_method
from modalhash.training.former import FormerTables
from modalhash.training.loop import scale_pairs
from tests.oracles.method_cases import QUICK, all_method_classes
from tests.oracles.paired_features import MadePairs, PlainTable, made_pairs

N_BITS = 16
Floats = NDArray[np.float32]
METHOD_CLASSES = all_method_classes()
MEASURED = ["nested", "djsrh", "cfrh"]
"""Quick ones; the others are measured in the slow test."""
OTHERS = sorted(
    name
    for name, kind in METHOD_CLASSES.items()
    if issubclass(kind, GradientMethod) and name not in MEASURED
)


@cache
def made() -> MadePairs:
    return made_pairs()


@cache
def other_text() -> PlainTable:
    """Features of the same captions as another encoder might give them: bent and mixed anew."""
    old, generator = made().text.all_pooled, np.random.default_rng(5)
    mixing = generator.normal(size=(old.shape[1], 28)) / 5
    bent = np.tanh(old @ mixing) + 0.1 * generator.normal(size=(len(old), 28))
    return PlainTable(bent.astype(np.float32), made().text.all_tokens, made().text.all_masks)


@cache
def former() -> Hasher:
    method, settings = make_method(METHOD_CLASSES["cca-itq"])
    return train_method(TrainingPlan(method, settings, N_BITS), made().data()).hasher


@cache
def tables() -> FormerTables:
    pairs, model = made(), former()
    return FormerTables(
        model.image.relaxed(pairs.image.all_pooled), model.text.relaxed(pairs.text.all_pooled)
    )


def data(*, compatible: bool) -> TrainingData:
    return replace(made().data(), text=other_text(), former=tables() if compatible else None)


@cache
def signs_of(name: str, *, compatible: bool) -> tuple[Floats, Floats]:
    """Signs of unseen pictures and of their first captions, by a model of the other features."""
    method, settings = make_method(METHOD_CLASSES[name], changes=QUICK.get(name))
    hasher = train_method(
        TrainingPlan(method, settings, N_BITS), data(compatible=compatible)
    ).hasher
    unseen = made().unseen

    def signs(tower: HashTower, table: PlainTable, rows: NDArray[np.int64]) -> Floats:
        tokens = table.tokens(rows) if Needs.TOKENS in METHOD_CLASSES[name].needs else ()
        return binarise(tower.relaxed(table.pooled(rows), *tokens)).astype(np.float32)

    starts = made().caption_starts[unseen]
    return (
        signs(hasher.image, made().image, unseen), signs(hasher.text, other_text(), starts)
    )  # fmt: skip


def former_signs() -> tuple[Floats, Floats]:
    unseen = made().unseen
    image, text = tables().image[unseen], tables().text[made().caption_starts[unseen]]
    return np.where(image >= 0, 1, -1), np.where(text >= 0, 1, -1)


def shared_concept_at_ten(queries: Floats, database: Floats) -> float:
    """Share of the ten nearest that share a concept with the query; by a plain sort of products."""
    labels = made().labels[made().unseen]
    relevant = (labels.astype(int) @ labels.T.astype(int)) > 0
    shares = []
    for query, own in zip(queries, relevant, strict=True):
        order = np.argsort(-(database @ query), kind="stable")[:10]
        shares.append(own[order].mean())
    return float(np.mean(shares))


def check_method(name: str) -> None:
    own, old = signs_of(name, compatible=True), former_signs()
    free = signs_of(name, compatible=False)
    for modality in (0, 1):
        agreement = np.mean(own[modality] == old[modality])
        assert agreement > 0.7, (name, modality, agreement)
        assert agreement > np.mean(free[modality] == old[modality]) + 0.1
        other = 1 - modality
        floor = shared_concept_at_ten(old[modality], old[other])
        chance = shared_concept_at_ten(np.zeros_like(old[modality]), old[other])
        for queries, database in ((own, old), (old, own)):
            mixed = shared_concept_at_ten(queries[modality], database[other])
            assert mixed > chance + 0.7 * (floor - chance), (name, modality, mixed, floor, chance)


@pytest.mark.parametrize("name", MEASURED)
def test_queries_of_each_model_search_the_codes_of_the_other(name: str) -> None:
    check_method(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_so_does_every_method_that_learns_by_gradient(name: str) -> None:
    check_method(name)


def test_mean_texts_meet_the_mean_of_the_former_numbers() -> None:
    method, settings = make_method(METHOD_CLASSES["djsrh"])
    plan = TrainingPlan(method, replace(settings, captions=CaptionChoice.MEAN), N_BITS)
    pairs = scale_pairs(plan, data(compatible=True))
    batch = next(iter(pairs.batches(5)))
    assert batch.former is not None
    starts = made().caption_starts
    for row, item in enumerate(made().items[:5]):
        own = tables().text[starts[item] : starts[item + 1]]
        np.testing.assert_allclose(batch.former.text[row], own.mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(batch.former.image[row], tables().image[item])


def test_without_weight_the_former_model_teaches_nothing() -> None:
    logs = []
    for compatible in (False, True):
        method, settings = make_method(METHOD_CLASSES["djsrh"], changes=QUICK["djsrh"])
        plan = TrainingPlan(method, replace(settings, epochs=1, compatibility_weight=0.0), N_BITS)
        logs.append(train_method(plan, data(compatible=compatible)).log[0])
    assert "former" not in logs[1]
    assert logs[0]["loss"] == logs[1]["loss"]


def test_closed_forms_are_refused() -> None:
    method, _ = make_method(METHOD_CLASSES["cca-itq"])
    with pytest.raises(SettingError, match="choose a method that learns by gradient, such as"):
        check_compatible_method(method)
