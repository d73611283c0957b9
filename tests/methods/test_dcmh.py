import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor
from torch.testing import assert_close

from modalhash.errors import FeatureError, SettingError
from modalhash.layers import MlpHead, ModalityFeatures
from modalhash.methods.base import Batch, FeatureShapes, Moment, Needs
from modalhash.methods.dcmh import (
    CodeMemory,
    Dcmh,
    DcmhHeads,
    DcmhSettings,
    alike,
    balance_loss,
    quantization_loss,
)
from modalhash.methods.settings import make_method
from modalhash.training import TrainingPlan, train_method
from tests.oracles import plain_dcmh as plain
from tests.oracles.paired_features import made_pairs

N_ALL, N, IMAGE_WIDTH, TEXT_WIDTH, N_BITS = 9, 4, 5, 3, 5
LABELS = [
    [1, 1, 0], [1, 0, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1],
    [0, 0, 1],
]  # fmt: skip
POSITIONS = [6, 1, 3, 8]


def made_method(**changes: Any) -> Dcmh:
    return Dcmh(DcmhSettings(**{"image_hidden_width": 4, "text_hidden_width": 3} | changes))


def made_batch(positions: list[int] = POSITIONS, *, times: float = 1.0) -> Batch:
    generator = np.random.default_rng(0)
    image, text = (times * generator.normal(size=(N_ALL, width)) for width in (5, 3))
    labels = torch.tensor(LABELS).double()
    return Batch(
        ModalityFeatures(torch.from_numpy(image[positions])),
        ModalityFeatures(torch.from_numpy(text[positions])),
        labels[positions],
        torch.tensor(positions),
    )


def made_heads(method: Dcmh) -> tuple[DcmhHeads, CodeMemory]:
    """Fresh heads, with a memory that holds something else than what they give."""
    torch.manual_seed(0)
    shapes = FeatureShapes(IMAGE_WIDTH, TEXT_WIDTH, n_classes=3, n_pairs=N_ALL, batch_size=N)
    heads = method.build_heads(shapes, N_BITS)
    heads.modules().double()
    memory = heads.auxiliary["memory"]
    assert isinstance(memory, CodeMemory)
    memory.image.normal_()
    memory.text.normal_()
    memory.labels.copy_(torch.tensor(LABELS))
    memory.solve_signs()
    return heads, memory


def values(method: Dcmh, heads: DcmhHeads, batch: Batch) -> dict[str, float]:
    report = method.batch_loss(heads, batch, Moment(0, 20))
    return {"total": report.total.item()} | {
        name: term.value.item() for name, term in report.terms.items()
    }


@pytest.mark.parametrize("times", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("positions", [[4], POSITIONS, list(range(N_ALL))])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"logit_scale": 12.0, "logit_offset": 2.0},
        {"quantization_weight": 0.3, "balance_weight": 0.0},
    ],
)
def test_every_part_of_the_objective_against_loops(
    changes: dict[str, Any], positions: list[int], times: float
) -> None:
    method = made_method(**changes)
    heads, memory = made_heads(method)
    batch = made_batch(positions, times=times)
    expected = plain.objective(
        heads.image(batch.image).tolist(),
        heads.text(batch.text).tolist(),
        positions,
        memory.image.tolist(),
        memory.text.tolist(),
        memory.signs.tolist(),
        LABELS,
        scale=method.settings.logit_scale or N_BITS / 2,
        offset=method.settings.logit_offset,
    )
    expected["total"] = (
        expected["pairs"]
        + method.settings.quantization_weight * expected["quantization"]
        + method.settings.balance_weight * expected["balance"]
    )
    found = values(method, heads, batch)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert_allclose(found[name], value, rtol=1e-10, atol=1e-12, err_msg=name)


def test_one_pair_by_hand() -> None:
    """Codes (2, 0) and (-1, 2) of one labelled pair: both logits are -2 / 2, alike to itself."""
    method = made_method()
    memory = CodeMemory(1, 2, 1)
    image, text = GivenHead([[2.0, 0.0]]), GivenHead([[-1.0, 2.0]])
    heads = DcmhHeads(image, text, memory)  # type: ignore[arg-type]
    memory.keep(torch.tensor([0]), torch.tensor([[2.0, 0.0]]), torch.tensor([[-1.0, 2.0]]))
    memory.solve_signs()
    assert memory.signs.tolist() == [[1, 1]]
    none = ModalityFeatures(torch.zeros(1, 1))
    batch = Batch(none, none, torch.tensor([[1.0]]), torch.tensor([0]))
    found = values(method, heads, batch)
    assert found["pairs"] == pytest.approx(2 * (math.log(1 + math.exp(-1)) + 1))
    assert found["quantization"] == pytest.approx((1 + 1) + (4 + 1))
    assert found["balance"] == pytest.approx(4 + (1 + 4))
    assert found["total"] == pytest.approx(found["pairs"] + 7 + 9)


class GivenHead(torch.nn.Module):
    """Gives the same relaxed codes whatever comes in."""

    def __init__(self, relaxed: list[list[float]]) -> None:
        super().__init__()
        self.relaxed = torch.tensor(relaxed)
        self.n_bits = len(relaxed[0])

    def forward(self, features: ModalityFeatures) -> Tensor:
        return self.relaxed


def test_alike_by_hand() -> None:
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    others = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    found = alike(labels, others, torch.tensor([7, 9]), torch.tensor([3, 4, 9]))
    assert found.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


def test_quantization_and_balance_by_hand() -> None:
    relaxed = torch.tensor([[0.5, -2.0], [0.0, 1.0]], requires_grad=True)
    signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    loss = quantization_loss(relaxed, signs, 5)
    assert loss.item() == pytest.approx((0.25 + 1 + 1) / 10)
    kept = torch.cat([relaxed.detach(), torch.tensor([[1.0, 1.0]])])
    loss = balance_loss(relaxed, kept)  # bits sum to 1.5 and 0
    assert loss.item() == pytest.approx(1.5**2 / 6)
    (gradient,) = torch.autograd.grad(loss, [relaxed])
    assert_close(gradient, torch.tensor([[0.5, 0.0], [0.5, 0.0]]), rtol=1e-6, atol=0)


def test_the_memory_keeps_a_batch_and_solves_for_signs() -> None:
    memory = CodeMemory(3, 2, 1)
    image = torch.tensor([[1.0, -2.0]], requires_grad=True)
    memory.keep(torch.tensor([1]), image, torch.tensor([[-1.0, 1.0]]))
    memory.solve_signs()
    assert memory.image.tolist() == [[0, 0], [1, -2], [0, 0]]
    assert memory.text.tolist() == [[0, 0], [-1, 1], [0, 0]]
    assert memory.signs.tolist() == [[1, 1], [1, -1], [1, 1]]
    assert not memory.image.requires_grad


def test_a_step_leaves_its_codes_in_the_memory_and_the_signs_alone() -> None:
    method = made_method()
    heads, memory = made_heads(method)
    before = {name: value.clone() for name, value in memory.named_buffers()}
    batch = made_batch()
    values(method, heads, batch)
    others = [place for place in range(N_ALL) if place not in POSITIONS]
    assert_close(memory.image[POSITIONS], heads.image(batch.image).detach(), rtol=0, atol=0)
    assert_close(memory.text[POSITIONS], heads.text(batch.text).detach(), rtol=0, atol=0)
    assert_close(memory.image[others], before["image"][others], rtol=0, atol=0)
    for name in ("signs", "labels"):
        assert torch.equal(getattr(memory, name), before[name])


def test_gradients_equal_finite_differences_of_what_is_learned() -> None:
    """Each head learns from the other's kept codes: pairs, and all of its own terms."""
    method = made_method(logit_offset=1.0)
    heads, memory = made_heads(method)
    batch = made_batch()
    state = {name: value.clone() for name, value in memory.named_buffers()}
    report = method.batch_loss(heads, batch, Moment(0, 1))
    parameters = list(heads.image.parameters())
    found = torch.autograd.grad(report.total, parameters)
    # What the image head minimises: the kept text codes, and the other kept image codes, stand.
    texts = memory.text.tolist()
    others = state["image"]

    def loss() -> float:
        image = heads.image(batch.image).detach()
        kept = others.clone()
        kept[batch.positions] = image
        terms = plain.one_side(
            image.tolist(), POSITIONS, kept.tolist(), texts, state["signs"].tolist(), LABELS,
            scale=N_BITS / 2, offset=1.0,
        )  # fmt: skip
        return sum(terms.values())

    step = 1e-6
    for parameter, gradient in zip(parameters, found, strict=True):
        flat, wanted = parameter.data.view(-1), gradient.reshape(-1)
        for place in range(0, len(flat), 3):
            kept = flat[place].item()
            flat[place] = kept + step
            above = loss()
            flat[place] = kept - step
            below = loss()
            flat[place] = kept
            assert_allclose(wanted[place], (above - below) / (2 * step), rtol=1e-5, atol=1e-7)


def test_the_memory_starts_with_labels_and_what_fresh_heads_give() -> None:
    made = made_pairs(30, 5)
    method, training = make_method(
        Dcmh, changes={"image_hidden_width": 4, "text_hidden_width": 4, "epochs": 1}
    )
    assert isinstance(method, Dcmh)
    heads = method.build_heads(
        FeatureShapes(24, 20, n_classes=8, n_pairs=30, batch_size=training.batch_size), 6
    )
    heads.modules().eval()
    items = made.items
    image = ModalityFeatures(torch.from_numpy(made.image.all_pooled[items]))
    text = ModalityFeatures(torch.from_numpy(made.text.all_pooled[made.caption_starts[items]]))
    labels = torch.from_numpy(made.labels[items])

    class View:
        n_pairs = 30

        def batches(self, batch_size: int) -> Any:
            for places in torch.split(torch.arange(30), 12):
                yield Batch(
                    ModalityFeatures(image.pooled[places]),
                    ModalityFeatures(text.pooled[places]),
                    labels[places].float(),
                    places,
                )

    with torch.no_grad():
        method.before_training(heads, View())
        memory = heads.auxiliary["memory"]
        assert isinstance(memory, CodeMemory)
        assert_close(memory.image, heads.image(image), rtol=1e-6, atol=1e-6)
        assert_close(memory.text, heads.text(text), rtol=1e-6, atol=1e-6)
        assert torch.equal(memory.labels, labels)
        expected = torch.where(memory.image + memory.text >= 0, 1, -1)
        assert torch.equal(memory.signs.long(), expected)
        memory.text.fill_(1e3)
        method.after_epoch(heads, View(), Moment(0, 1))
        assert bool((memory.signs == 1).all())


def test_what_a_batch_is_compared_with() -> None:
    own = torch.tensor([5, 2])
    assert made_method().compared_places(own, 9).tolist() == list(range(9))
    method = made_method(compared=4)
    places = method.compared_places(own, 9)
    assert places[:2].tolist() == [5, 2]
    assert len(places) == 6
    assert len(set(places[2:].tolist())) == 4
    assert method.compared_places(own, 6).tolist() == list(range(6))


def test_drawn_comparisons_are_those_of_the_drawn_pairs() -> None:
    method = made_method(compared=2)
    heads, memory = made_heads(method)
    batch = made_batch()
    torch.manual_seed(5)
    found = values(method, heads, batch)
    torch.manual_seed(5)
    places = method.compared_places(batch.positions, N_ALL).tolist()
    expected = plain.objective(
        heads.image(batch.image).tolist(),
        heads.text(batch.text).tolist(),
        POSITIONS,
        memory.image.tolist(),
        memory.text.tolist(),
        memory.signs.tolist(),
        LABELS,
        scale=N_BITS / 2,
        offset=0.0,
        places=places,
    )
    for name, value in expected.items():
        assert_allclose(found[name], value, rtol=1e-10, atol=1e-12, err_msg=name)


def test_permuted_classes_and_a_permuted_batch_change_nothing() -> None:
    method = made_method()
    expected = values(method, made_heads(method)[0], made_batch())
    permuted = made_batch([8, 6, 3, 1])
    assert values(method, made_heads(method)[0], permuted) == pytest.approx(expected, rel=1e-12)
    heads, memory = made_heads(method)
    order = torch.tensor([2, 0, 1])
    memory.labels.copy_(memory.labels[:, order])
    batch = made_batch()
    assert batch.labels is not None
    other = replace(batch, labels=batch.labels[:, order])
    assert values(method, heads, other) == pytest.approx(expected, rel=1e-12)


def test_dropped_inputs_are_those_of_pictures_in_training_alone() -> None:
    method = made_method(input_dropout=0.9)
    heads, _ = made_heads(method)
    heads.modules().eval()
    expected = values(made_method(), made_heads(made_method())[0], made_batch())
    assert values(method, heads, made_batch()) == pytest.approx(expected, rel=1e-12)
    heads, memory = made_heads(method)
    batch = made_batch()
    values(method, heads, batch)
    assert not torch.allclose(memory.image[POSITIONS], heads.image(batch.image))
    assert torch.equal(memory.text[POSITIONS], heads.text(batch.text))


def test_the_paper_s_constants() -> None:
    for preset in (None, "paper"):
        method, training = make_method(Dcmh, preset=preset)
        settings = method.settings
        assert (settings.quantization_weight, settings.balance_weight) == (1.0, 1.0)
        assert (settings.compared, settings.logit_scale, settings.logit_offset) == (0, 0.0, 0.0)
        assert settings.text_hidden_width == 8192
        assert (training.epochs, training.batch_size, training.momentum) == (500, 128, 0.0)
        assert training.learning_rate == pytest.approx(0.0316, rel=1e-3)
    assert Dcmh.preset_for(has_sparse_texts=True) == "paper"
    assert Dcmh.preset_for(has_sparse_texts=False) == "dense"


def test_only_the_heads_are_learned() -> None:
    heads, _ = made_heads(made_method())
    assert not list(heads.auxiliary.parameters())
    for head in (heads.image, heads.text):
        assert isinstance(head, MlpHead)


def test_labels_are_needed_and_said_so() -> None:
    assert Dcmh.needs == {Needs.LABELS}
    method, training = make_method(Dcmh)
    data = replace(made_pairs(20, 5).data(), labels=None)
    message = (
        "DCMH learns from labels, but the collection has none: add labels.tsv, or choose an "
        "unsupervised method"
    )
    with pytest.raises(FeatureError, match=f"^{re.escape(message)}$"):
        train_method(TrainingPlan(method, training, 8), data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_hidden_width": 0}, "image_hidden_width is 0, expected at least 1"),
        ({"text_hidden_width": 0}, "text_hidden_width is 0, expected at least 1"),
        ({"input_dropout": 1.0}, "input_dropout is 1.0, expected in [0, 1)"),
        ({"dropout": -0.1}, "dropout is -0.1, expected in [0, 1)"),
        ({"logit_scale": -1.0}, "logit_scale is -1.0, expected 0 or more"),
        ({"logit_offset": math.nan}, "logit_offset is nan, expected 0 or more"),
        ({"compared": -1}, "compared is -1, expected 0 or more"),
        ({"quantization_weight": -1.0}, "quantization_weight is -1.0, expected 0 or more"),
        ({"balance_weight": -1.0}, "balance_weight is -1.0, expected 0 or more"),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        DcmhSettings(**changes)
