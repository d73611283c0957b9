import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.testing import assert_close

from modalhash.errors import SettingError
from modalhash.layers.ghost_vlad import AssignNorm, GhostVlad, ProjectionNorm
from modalhash.layers.modality_features import ModalityFeatures
from modalhash.layers.product_quantizer import (
    ProductQuantizer,
    Rotation,
    RotationRule,
    SubspaceSimilarity,
    nearest_rotation,
)

every_rule = pytest.mark.parametrize("rule", list(RotationRule))
both_similarities = pytest.mark.parametrize("similarity", list(SubspaceSimilarity))


def unit_vectors(n: int, n_concepts: int, width: int, seed: int = 0) -> Tensor:
    """Vectors of length 1 that vary more in some directions, which aren't the axes."""
    generator = torch.Generator().manual_seed(seed)
    spread = torch.linspace(0.1, 2, width).diag()
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q
    rows = torch.randn(n, n_concepts, width, generator=generator)
    return normalize(rows @ spread @ turn, dim=2)


def made(seed: int = 0, **changes: Any) -> ProductQuantizer:
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"n_concepts": 3, "width": 8, "n_subspaces": 2, "n_codewords": 4}
    return ProductQuantizer(**(sizes | changes))


def by_hand() -> ProductQuantizer:
    """One concept, two sub-spaces of width 1 with codewords 0 and 1, and 0 and 2."""
    quantizer = made(n_concepts=1, width=2, n_codewords=2, sharpness=1.0)
    with torch.no_grad():
        quantizer.codebooks.copy_(torch.tensor([[[[0.0], [1.0]], [[0.0], [2.0]]]]))
    return quantizer


def test_codes_and_soft_codewords_by_hand() -> None:
    quantizer, rotated = by_hand(), torch.tensor([[[1.0, 0.5]]])
    found = quantizer(rotated)
    # Minus S = 2 times the squared distances: 1 and 0 in one sub-space, 1/4 and 9/4 in the other.
    expected = torch.tensor([[[[-2.0, 0.0], [-0.5, -4.5]]]])
    assert_close(quantizer.similarities(rotated), expected, rtol=1e-6, atol=1e-6)
    one, other = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(4))
    assert_close(
        found.assignment,
        torch.tensor([[[[1 - one, one], [1 - other, other]]]]),
        rtol=1e-5,
        atol=1e-7,
    )
    assert_close(found.output, torch.tensor([[[one, 2 * other]]]), rtol=1e-5, atol=1e-7)
    assert found.codes.tolist() == [[[1, 0]]]
    assert found.hard.tolist() == [[[1.0, 0.0]]]
    assert quantizer.encode(rotated).dtype == torch.uint8
    assert quantizer.encode(rotated).tolist() == [[[1, 0]]]


def test_straight_through_gives_the_hard_codeword_and_the_soft_gradient() -> None:
    quantizer = by_hand()
    weights = torch.tensor([[[3.0, -2.0]]])
    gradients = []
    for straight_through in (False, True):
        rotated = torch.tensor([[[0.7, 0.9]]], requires_grad=True)
        found = quantizer(rotated, straight_through=straight_through)
        inputs = (rotated, quantizer.codebooks)
        gradients.append(torch.autograd.grad((found.output * weights).sum(), inputs))
    assert found.output.tolist() == found.hard.tolist() == [[[1.0, 0.0]]]
    for soft, straight in zip(*gradients, strict=True):
        assert_close(soft, straight, rtol=1e-6, atol=1e-7)
        assert float(soft.abs().sum()) > 0


def test_cosine_codewords_have_equal_lengths_and_lengths_of_sub_vectors_do_not_matter() -> None:
    quantizer = made(similarity=SubspaceSimilarity.COSINE, n_subspaces=4, width=8)
    lengths = quantizer.codewords().norm(dim=-1)
    assert_close(lengths, torch.full_like(lengths, 0.5), rtol=1e-6, atol=0)  # 1 / sqrt(4)
    rotated = unit_vectors(6, 3, 8)
    longer = rotated.clone()
    longer[..., :2] *= 7
    assert torch.equal(quantizer.encode(rotated), quantizer.encode(longer))
    whole = quantizer.decode(quantizer.encode(rotated)).norm(dim=-1)
    assert_close(whole, torch.ones_like(whole), rtol=1e-6, atol=0)


@both_similarities
def test_codes_against_a_plain_search(similarity: SubspaceSimilarity) -> None:
    quantizer, rotated = made(similarity=similarity), unit_vectors(5, 3, 8)
    codewords = quantizer.codewords().detach().numpy()
    codes, decoded = quantizer.encode(rotated), quantizer.decode(quantizer.encode(rotated))
    for item in range(5):
        for concept in range(3):
            for space in range(2):
                part = rotated[item, concept, 4 * space : 4 * space + 4].numpy()
                books = codewords[concept, space]
                if similarity is SubspaceSimilarity.COSINE:
                    nearest = max(range(4), key=lambda k: float(part @ books[k]))
                else:
                    nearest = min(range(4), key=lambda k: float(((part - books[k]) ** 2).sum()))
                assert codes[item, concept, space] == nearest
                found = decoded[item, concept, 4 * space : 4 * space + 4].detach().numpy()
                np.testing.assert_allclose(found, books[nearest], rtol=1e-6)


@both_similarities
def test_soft_codewords_tend_to_hard_ones(similarity: SubspaceSimilarity) -> None:
    rotated, gaps = unit_vectors(20, 3, 8), []
    for sharpness in (1.0, 10.0, 100.0, 1e4):
        quantizer = made(similarity=similarity, sharpness=sharpness)
        found = quantizer(rotated)
        gaps.append(float((found.output - found.hard).detach().abs().mean()))
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-3 < gaps[0]


@every_rule
def test_rotations_start_at_the_identity_and_stay_orthogonal(rule: RotationRule) -> None:
    quantizer, embeddings = made(rotation=rule), unit_vectors(40, 3, 8)
    assert_close(quantizer.rotate(embeddings), embeddings, rtol=0, atol=1e-6)
    quantizer.start(embeddings)
    optimiser = torch.optim.Adam(quantizer.parameters(), 0.02)
    for _ in range(30):
        rotated = quantizer.rotate(embeddings)
        loss = (rotated - quantizer(rotated).hard).square().mean() + quantizer.rotation.penalty()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    quantizer.rotation.project()
    assert quantizer.rotation.error() < 1e-4
    before, after = embeddings[:, 1], quantizer.rotate(embeddings)[:, 1].detach()
    assert_close(after @ after.T, before @ before.T, rtol=0, atol=1e-4)
    if rule is not RotationRule.NONE:
        assert float((after - before).abs().max()) > 0.01


def test_the_penalty_by_hand() -> None:
    quantizer = made(n_concepts=2, width=2, rotation=RotationRule.PENALTY)
    assert float(quantizer.rotation.penalty().detach()) == 0
    with torch.no_grad():
        quantizer.rotation.matrix[1] = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    # R R^T = [[4, 2], [2, 2]]: 3^2 + 2 * 2^2 + 1 = 18, and 0 for the other concept.
    assert float(quantizer.rotation.penalty().detach()) == 9
    assert quantizer.rotation.error() == 3
    quantizer.rotation.project()
    assert quantizer.rotation.error() < 1e-6


def test_the_nearest_rotation_of_a_scaled_one_is_itself() -> None:
    angle = 0.3
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    assert_close(nearest_rotation(3 * turn[None])[0], turn, rtol=1e-6, atol=1e-6)


def test_procrustes_finds_the_rotation_that_was_applied() -> None:
    quantizer = made(n_concepts=1, width=4, n_subspaces=2, rotation=RotationRule.PROCRUSTES)
    coded = quantizer.decode(torch.cartesian_prod(torch.arange(4), torch.arange(4))[:, None])
    angle = 0.1
    turn = torch.eye(4)
    turn[1:3, 1:3] = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    embeddings = coded.detach() @ turn  # so that R = turn brings each back: R e = turn turn^T c
    quantizer.rotation.set_to(turn[None] + 0.0)
    assert_close(quantizer.rotate(embeddings), coded.detach(), rtol=1e-5, atol=1e-5)
    quantizer.align(embeddings)
    assert_close(quantizer.rotation.matrix[0], turn, rtol=1e-4, atol=1e-4)


@every_rule
def test_learned_rotations_lower_the_error_of_plain_codes(rule: RotationRule) -> None:
    embeddings = unit_vectors(400, 2, 8, seed=3)

    def error(rule: RotationRule) -> float:
        quantizer = made(n_concepts=2, n_codewords=8, rotation=rule)
        quantizer.start(embeddings)
        rotated = quantizer.rotate(embeddings)
        decoded = quantizer.decode(quantizer.encode(rotated))
        return (rotated - decoded).square().sum(dim=2).mean().item()

    assert error(rule) <= error(RotationRule.NONE) * 1.02


def test_k_means_finds_the_means_of_what_is_apart() -> None:
    """Two sub-spaces of two clusters each: codewords become the clusters' means."""
    generator = torch.Generator().manual_seed(1)
    picks = torch.randint(0, 2, (200, 1, 2), generator=generator)
    centres = torch.tensor([[-1.0, 1.0], [-3.0, 3.0]])
    rows = centres[torch.arange(2), picks] + 0.01 * torch.randn(200, 1, 2, generator=generator)
    quantizer = made(n_concepts=1, width=2, n_codewords=2, rotation=RotationRule.NONE)
    quantizer.start(rows)
    for space in range(2):
        means = [rows[picks[:, 0, space] == side][:, 0, space].mean() for side in (0, 1)]
        found = quantizer.codebooks[0, space, :, 0].sort().values
        assert_close(found, torch.stack(means), rtol=1e-5, atol=1e-5)


def test_unused_codewords_are_set_anew_and_used_ones_stay() -> None:
    quantizer, embeddings = made(), unit_vectors(50, 3, 8)
    codes = quantizer.encode(quantizer.rotate(embeddings)).long() % 2  # codewords 2, 3 unused
    before = quantizer.codebooks.detach().clone()
    quantizer.count(codes)
    assert quantizer.use.sum(dim=2).tolist() == [[50, 50]] * 3
    n_dead = int((quantizer.use == 0).sum())
    assert quantizer.renew(embeddings) == n_dead >= 3 * 2 * 2
    is_used = torch.stack(
        [torch.bincount(codes[:, i, j], minlength=4) > 0 for i in range(3) for j in range(2)]
    ).view(3, 2, 4)
    assert torch.equal(quantizer.codebooks[is_used], before[is_used])
    assert not torch.equal(quantizer.codebooks[~is_used], before[~is_used])
    # Each new one is a sub-vector of an embedding, to within the noise.
    parts = quantizer.split(quantizer.rotate(embeddings)).detach()
    for concept, space, word in (~is_used).nonzero().tolist():
        gaps = (parts[:, concept, space] - quantizer.codebooks[concept, space, word]).norm(dim=1)
        assert gaps.min().item() < 0.05
    assert int(quantizer.use.sum()) == 0


def test_fewer_rows_than_codewords_are_no_obstacle() -> None:
    quantizer, embeddings = made(n_codewords=16), unit_vectors(3, 3, 8)
    quantizer.start(embeddings)
    rotated = quantizer.rotate(embeddings)
    assert_close(quantizer.decode(quantizer.encode(rotated)), rotated, rtol=0, atol=0.05)


@pytest.mark.parametrize("rule", [RotationRule.CAYLEY, RotationRule.EXPM, RotationRule.PENALTY])
@both_similarities
@pytest.mark.parametrize("straight_through", [False, True])
def test_gradients_reach_embeddings_rotations_and_codebooks(
    rule: RotationRule, similarity: SubspaceSimilarity, straight_through: bool
) -> None:
    quantizer = made(rotation=rule, similarity=similarity)
    embeddings = unit_vectors(6, 3, 8).requires_grad_()
    quantizer(quantizer.rotate(embeddings), straight_through=straight_through).output[
        ..., 0
    ].sum().backward()
    assert embeddings.grad is not None
    assert float(embeddings.grad.abs().sum()) > 0
    for name, parameter in quantizer.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0, name


@both_similarities
def test_the_gradient_equals_finite_differences(similarity: SubspaceSimilarity) -> None:
    quantizer = made(n_concepts=2, width=4, similarity=similarity, sharpness=2.0).double()
    embeddings = unit_vectors(3, 2, 4).double().requires_grad_()
    names = [name for name, _ in quantizer.named_parameters()]
    values = [one.detach().clone() for one in quantizer.parameters()]
    for place, value in enumerate(values):
        if value.shape[-1] == 4:  # the rotation's free matrix, away from 0
            noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(2))
            values[place] = value + 0.1 * noise
        values[place].requires_grad_()

    class Soft(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = quantizer

        def forward(self, rows: Tensor) -> Tensor:
            out: Tensor = self.inner(self.inner.rotate(rows)).output
            return out

    def output(rows: Tensor, *parameters: Tensor) -> Tensor:
        changed = {f"inner.{name}": one for name, one in zip(names, parameters, strict=True)}
        out: Tensor = torch.func.functional_call(Soft(), changed, (rows,))
        return out

    assert torch.autograd.gradcheck(output, (embeddings, *values))


def test_a_common_rotation_of_projections_rotates_the_embeddings() -> None:
    """So one rotation shared by all concepts adds nothing to a learned projection."""
    torch.manual_seed(0)
    vlad = GhostVlad(
        5, 6, width=4, n_concepts=3,
        assign_norm=AssignNorm.NONE, projection_norm=ProjectionNorm.BEFORE,
    )  # fmt: skip
    content = ModalityFeatures(
        torch.zeros(2, 1), torch.randn(2, 7, 5), torch.ones(2, 7, dtype=torch.bool)
    )
    before = vlad(content, "image").vectors
    turn = torch.linalg.qr(torch.randn(4, 4)).Q
    with torch.no_grad():
        last = vlad.projections["image"][1]  # type: ignore[index]
        last.weight.copy_(turn @ last.weight)
        last.bias.copy_(turn @ last.bias)
        vlad.assign.copy_(vlad.assign @ turn.T)
        vlad.centroids.copy_(vlad.centroids @ turn.T)
    assert_close(vlad(content, "image").vectors, before @ turn.T, rtol=0, atol=1e-5)


@every_rule
def test_a_quantizer_is_rebuilt_from_its_weights(rule: RotationRule) -> None:
    one, embeddings = made(rotation=rule), unit_vectors(30, 3, 8)
    one.start(embeddings)
    spec = one.spec()
    other = ProductQuantizer(
        spec["n_concepts"],
        spec["width"],
        n_subspaces=spec["n_subspaces"],
        n_codewords=spec["n_codewords"],
        rotation=RotationRule(spec["rotation"]),
        similarity=SubspaceSimilarity(spec["similarity"]),
        sharpness=spec["sharpness"],
    )
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.rotate(embeddings), other.rotate(embeddings))
    assert torch.equal(one.encode(one.rotate(embeddings)), other.encode(other.rotate(embeddings)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"width": 9},
            (
                "a product quantizer cuts vectors into equal parts, but width 9 isn't a multiple "
                "of n_subspaces 2, or n_concepts 3 isn't positive"
            ),
        ),
        (
            {"n_codewords": 257},
            "n_codewords is 257 and sharpness 10.0, expected 2 to 256 and a positive number",
        ),
        (
            {"sharpness": 0.0},
            "n_codewords is 4 and sharpness 0.0, expected 2 to 256 and a positive number",
        ),
    ],
)
def test_sizes_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        made(**changes)


@every_rule
def test_a_rotation_without_memory_is_as_large_as_one_with_it(rule: RotationRule) -> None:
    with torch.device("meta"):
        shapes = Rotation(rule, 3, 4).state_dict()
    entries = [value.shape for value in Rotation(rule, 3, 4).state_dict().values()]
    assert [value.shape for value in shapes.values()] == entries
