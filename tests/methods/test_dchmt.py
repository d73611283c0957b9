import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor, nn
from torch.testing import assert_close

from modalhash.errors import FeatureError, SettingError
from modalhash.layers import MlpHead, ModalityFeatures
from modalhash.losses import label_similarity
from modalhash.methods.base import Batch, FeatureShapes, Heads, Moment, Needs
from modalhash.methods.dchmt import (
    Dchmt,
    DchmtSettings,
    far_loss,
    near_loss,
    selection_distances,
    undecided,
)
from modalhash.methods.settings import make_method
from modalhash.training import TrainingPlan, train_method
from tests.oracles import plain_dchmt as plain
from tests.oracles.paired_features import made_pairs

IMAGE_WIDTH, TEXT_WIDTH, N_BITS = 4, 6, 5
LABELS = [[1, 1, 0], [1, 0, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0], [0, 1, 0]]


def made_method(**changes: Any) -> Dchmt:
    return Dchmt(DchmtSettings(**{"hidden_width": 3} | changes))


def made_batch(n: int = 6, *, times: float = 1.0) -> Batch:
    generator = np.random.default_rng(0)
    image, text = (
        ModalityFeatures(torch.from_numpy(times * generator.normal(size=(n, width))))
        for width in (IMAGE_WIDTH, TEXT_WIDTH)
    )
    return Batch(image, text, torch.tensor(LABELS[:n]).double(), torch.arange(n))


def made_heads(method: Dchmt) -> Heads:
    torch.manual_seed(0)
    shapes = FeatureShapes(image_width=IMAGE_WIDTH, text_width=TEXT_WIDTH, n_classes=3)
    heads = method.build_heads(shapes, N_BITS)
    heads.modules().double()
    return heads


def values(method: Dchmt, heads: Heads, batch: Batch) -> dict[str, float]:
    report = method.batch_loss(heads, batch, Moment(0, 20))
    return {"total": report.total.item()} | {
        name: term.value.item() for name, term in report.terms.items()
    }


@pytest.mark.parametrize("times", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("n", [2, 6])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"unlike_share": 1.0, "quantization_weight": 0.7},
        {"label_grading": 0.5, "unlike_share": 0.1},
        {"label_grading": 1.0},
    ],
)
def test_every_part_of_the_objective_against_loops(
    changes: dict[str, Any], n: int, times: float
) -> None:
    method = made_method(**changes)
    heads, batch = made_heads(method), made_batch(n, times=times)
    settings = method.settings
    expected = plain.objective(
        heads.image(batch.image).tolist(),
        heads.text(batch.text).tolist(),
        LABELS[:n],
        grading=settings.label_grading,
        unlike_share=settings.unlike_share,
    )
    expected["total"] = (
        expected["near"] + expected["far"] + settings.quantization_weight * expected["quantization"]
    )
    found = values(method, heads, batch)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # Rows at one place are a distance of 1e-6 apart here, of 0 in the loops.
        assert_allclose(found[name], value, rtol=1e-9, atol=2e-5, err_msg=name)


def test_distances_of_decided_bits_are_twice_the_unlike_ones() -> None:
    codes = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    found = selection_distances(codes, codes)
    assert found.tolist() == [[0.0, 4.0, 6.0], [4.0, 0.0, 2.0], [6.0, 2.0, 0.0]]


def test_distances_by_hand() -> None:
    """Of (3/4, 1/4) and (1/2, 1/2): 1/16 + 1/16."""
    found = selection_distances(torch.tensor([[0.75]]), torch.tensor([[0.5]]))
    assert found.item() == pytest.approx(1 / 8)


def test_near_and_far_by_hand() -> None:
    distances = torch.tensor([[0.0, 4.0], [9.0, 16.0]], dtype=torch.float64)
    similarity = torch.tensor([[1.0, 0.25], [0.0, 1.0]], dtype=torch.float64)
    assert near_loss(distances, similarity).item() == pytest.approx((0 + 0.25 * 4 + 0 + 16) / 4)
    assert far_loss(distances, similarity, 5.0).item() == pytest.approx((0.75 * 9 + 4) / 4)
    assert far_loss(distances, similarity, 2.0).item() == 0.0


def test_undecided_by_hand() -> None:
    assert undecided(torch.tensor([[0.5, 1.0], [0.0, 0.75]])).item() == pytest.approx(
        1 - (0 + 1 + 1 + 0.25) / 4
    )


def test_items_at_one_place_get_no_gradient_to_part() -> None:
    selected = torch.full((2, 3), 0.7, requires_grad=True)
    distances = selection_distances(selected, selected)
    loss = far_loss(distances, torch.eye(2), 2.0)
    assert loss.item() == pytest.approx(2 * 4 / 4, rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, [selected])
    assert_close(gradient, torch.zeros(2, 3), rtol=0, atol=0)


def test_terms_equal_finite_differences() -> None:
    generator = torch.Generator().manual_seed(3)
    one, other = (
        torch.rand(4, 3, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(2)
    )
    similarity = label_similarity(torch.tensor(LABELS[:4]).double(), 0.5)

    def near(first: Tensor, second: Tensor) -> Tensor:
        return near_loss(selection_distances(first, second), similarity)

    def far(first: Tensor, second: Tensor) -> Tensor:
        return far_loss(selection_distances(first, second), similarity, 2.0)

    for loss in (near, far, lambda first, second: undecided(first) * undecided(second)):
        assert torch.autograd.gradcheck(loss, (one, other))


def test_a_flipped_bit_of_both_modalities_changes_nothing() -> None:
    method = made_method(quantization_weight=0.5)
    heads, batch = made_heads(method), made_batch()
    before = values(method, heads, batch)
    with torch.no_grad():
        for head in (heads.image, heads.text):
            assert isinstance(head, MlpHead)
            last = head.layers[-1]
            assert isinstance(last, nn.Linear)
            last.weight[2] *= -1
            last.bias[2] *= -1
    assert values(method, heads, batch) == pytest.approx(before, rel=1e-9)


def test_swapped_modalities_and_a_permuted_batch_change_nothing() -> None:
    method = made_method()
    heads, batch = made_heads(method), made_batch()
    expected = values(method, heads, batch)
    swapped = replace(batch, image=batch.text, text=batch.image)
    found = values(method, Heads(heads.text, heads.image), swapped)
    assert found == pytest.approx(expected, rel=1e-9)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    assert batch.labels is not None
    permuted = Batch(
        ModalityFeatures(batch.image.pooled[order]),
        ModalityFeatures(batch.text.pooled[order]),
        batch.labels[order],
        batch.positions[order],
    )
    assert values(method, heads, permuted) == pytest.approx(expected, rel=1e-9)


def test_the_sign_of_the_head_is_the_selected_score() -> None:
    differences = torch.tensor([[-3.0, 0.5, 2.0]])
    rows = plain.selections(differences.tolist())[0]
    selected = [rows[2 * bit + 1] > rows[2 * bit] for bit in range(3)]
    assert selected == (differences[0] > 0).tolist() == [False, True, True]
    assert_close(torch.sigmoid(differences[0]), torch.tensor(rows[1::2]), rtol=1e-6, atol=0)


def test_dropped_inputs_are_those_of_pictures_in_training_alone() -> None:
    method = made_method(input_dropout=0.9)
    heads, batch = made_heads(method), made_batch()
    whole = values(made_method(), heads, batch)
    assert values(method, heads, batch)["total"] != pytest.approx(whole["total"], rel=1e-6)
    heads.modules().eval()
    assert values(method, heads, batch) == pytest.approx(whole, rel=1e-12)


def test_the_released_constants() -> None:
    for preset in (None, "paper"):
        method, training = make_method(Dchmt, preset=preset)
        settings = method.settings
        assert (settings.hidden_width, settings.unlike_share) == (128, 0.5)
        assert (settings.label_grading, settings.quantization_weight) == (0.0, 0.0)
        assert (training.epochs, training.batch_size, training.learning_rate) == (100, 64, 1e-3)
        assert (training.weight_decay, training.gradient_clip) == (0.2, 1.0)
    assert Dchmt.preset_for(has_sparse_texts=True) == "paper"
    assert Dchmt.preset_for(has_sparse_texts=False) == "dense"
    heads = Dchmt().build_heads(FeatureShapes(image_width=512, text_width=512, n_classes=24), 64)
    assert heads.image.spec()["widths"] == heads.text.spec()["widths"] == [512, 128, 64]


def test_labels_are_needed_and_said_so() -> None:
    assert Dchmt.needs == {Needs.LABELS}
    method, training = make_method(Dchmt)
    data = replace(made_pairs(20, 5).data(), labels=None)
    message = (
        "DCHMT learns from labels, but the collection has none: add labels.tsv, or choose an "
        "unsupervised method"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        train_method(TrainingPlan(method, training, 8), data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_width": 0}, "hidden_width is 0, expected at least 1"),
        ({"input_dropout": 1.0}, "input_dropout is 1.0, expected in [0, 1)"),
        ({"dropout": -0.1}, "dropout is -0.1, expected in [0, 1)"),
        ({"label_grading": 1.1}, "label_grading is 1.1, expected in [0, 1]"),
        ({"unlike_share": 0.0}, "unlike_share is 0.0, expected in (0, 1]"),
        ({"quantization_weight": math.nan}, "quantization_weight is nan, expected 0 or more"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        DchmtSettings(**changes)
