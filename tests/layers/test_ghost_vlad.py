import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from modalhash.errors import SettingError
from modalhash.layers import AssignNorm, GhostVlad, ModalityFeatures, ProjectionNorm
from modalhash.layers.ghost_vlad import plus_plus

N, LENGTH, IMAGE_WIDTH, TEXT_WIDTH, WIDTH, K, G = 4, 5, 6, 3, 4, 3, 1

every_norm = pytest.mark.parametrize("norm", list(AssignNorm))


def vlad(norm: AssignNorm = AssignNorm.NONE, **changes: Any) -> GhostVlad:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"width": WIDTH, "n_concepts": K, "n_ghosts": G} | changes
    made = GhostVlad(IMAGE_WIDTH, TEXT_WIDTH, assign_norm=norm, **sizes)
    return made.eval().double()


def content(width: int = IMAGE_WIDTH, seed: int = 0) -> ModalityFeatures:
    """Items of 5, 2, 0 and 1 real tokens."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(N, LENGTH, width, generator=generator, dtype=torch.float64)
    mask = torch.arange(LENGTH) < torch.tensor([[5], [2], [0], [1]])
    return ModalityFeatures(tokens[:, 0], tokens, mask)


def plain_sums(made: GhostVlad, tokens: Tensor, mask: Tensor) -> Tensor:
    """Sums of residuals before normalisation, token by token, with a bias and no batch norm."""
    parts: Any = made.projections["image"]
    linear, norm = parts
    sums = torch.zeros(len(tokens), K, WIDTH, dtype=torch.float64)
    for item, (rows, is_real) in enumerate(zip(tokens, mask, strict=True)):
        for row, real in zip(rows, is_real, strict=True):
            if not real:
                continue
            mapped = linear.weight @ row + linear.bias
            mapped = (mapped - mapped.mean()) / (mapped.var(unbiased=False) + 1e-5).sqrt()
            mapped = mapped * norm.weight + norm.bias
            powers = torch.exp(made.assign @ mapped + made.shift)
            for concept in range(K):
                weight = powers[concept] / powers.sum()
                sums[item, concept] += weight * (mapped - made.centroids[concept])
    return sums


def test_it_is_the_sum_over_tokens_written_out() -> None:
    made, given = vlad(), content()
    torch.nn.init.normal_(made.shift)
    assert given.tokens is not None
    assert given.token_mask is not None
    sums = plain_sums(made, given.tokens, given.token_mask)
    expected = sums / sums.norm(dim=2, keepdim=True).clamp_min(1e-12)
    assert_close(made(given, "image").vectors, expected, rtol=1e-9, atol=1e-12)


@every_norm
@pytest.mark.parametrize("is_training", [False, True])
def test_embeddings_have_length_1_or_0_without_content(
    norm: AssignNorm, *, is_training: bool
) -> None:
    found = vlad(norm).train(is_training)(content(), "image")
    lengths = torch.ones(N, K, dtype=torch.float64)
    lengths[2] = 0
    assert_close(found.vectors.norm(dim=2), lengths, rtol=1e-9, atol=0.0)
    assert found.has_content.tolist() == [True, True, False, True]


@every_norm
def test_ghosts_act(norm: AssignNorm) -> None:
    given = content()
    mask = given.token_mask
    assert given.tokens is not None
    assert mask is not None
    with_ghost, without = vlad(norm), vlad(norm, n_ghosts=0)
    real_shares = []
    for made in (with_ghost, without):
        projected = made.project(given.tokens, mask, "image")
        assigned = made.assignments(projected, mask, "image")
        assert bool((assigned[~mask] == 0).all())
        real_shares.append(assigned[mask][:, :K].sum(dim=1))
    assert bool((real_shares[0] < 0.999).all())
    assert_close(real_shares[1], torch.ones(8, dtype=torch.float64), rtol=1e-12, atol=0.0)


@every_norm
def test_a_ghost_that_takes_all_leaves_nothing_to_sum(norm: AssignNorm) -> None:
    made, given = vlad(norm), content()
    assert given.tokens is not None
    assert given.token_mask is not None
    with torch.no_grad():
        made.shift[K:] = 30
    projected = made.project(given.tokens, given.token_mask, "image")
    assigned = made.assignments(projected, given.token_mask, "image")
    assert float(made.residuals(projected, assigned).abs().max().detach()) < 1e-9


@every_norm
@pytest.mark.parametrize("is_training", [False, True])
def test_values_at_masked_places_and_padding_change_nothing(
    norm: AssignNorm, *, is_training: bool
) -> None:
    given = content()
    assert given.tokens is not None
    assert given.token_mask is not None
    expected = vlad(norm).train(is_training)(given, "image")
    changed = given.tokens.clone()
    changed[~given.token_mask] = torch.inf
    longer = ModalityFeatures(
        given.pooled,
        torch.cat([changed, torch.full((N, 2, IMAGE_WIDTH), torch.nan)], dim=1),
        torch.cat([given.token_mask, torch.zeros(N, 2, dtype=torch.bool)], dim=1),
    )
    found = vlad(norm).train(is_training)(longer, "image")
    assert_close(found.vectors, expected.vectors, rtol=1e-9, atol=1e-12)
    assert_close(found.masses, expected.masses, rtol=1e-9, atol=1e-12)


def test_masses_are_the_sums_of_assignments() -> None:
    found = vlad()(content(), "image")
    assert found.masses.shape == (K + G,)
    assert_close(found.masses.sum(), torch.tensor(8.0, dtype=torch.float64), rtol=1e-9, atol=0.0)


def test_statistics_are_each_modality_s_own_and_the_rest_is_shared() -> None:
    made = vlad(AssignNorm.BATCH).train()
    image, text = content(), content(TEXT_WIDTH, seed=1)
    assert image.tokens is not None
    assert image.token_mask is not None
    made(image, "image")
    projected = made.project(image.tokens, image.token_mask, "image")
    logits = (projected @ made.assign.T)[image.token_mask]
    # Running statistics go a tenth of the way from 0 and 1 to the batch's.
    assert_close(made.image_mean, 0.1 * logits.mean(dim=0), rtol=1e-9, atol=1e-12)
    assert_close(made.image_variance, 0.9 + 0.1 * logits.var(dim=0), rtol=1e-9, atol=1e-12)
    assert bool((made.text_mean == 0).all())
    made(text, "text")
    assert bool((made.text_mean != 0).all())
    names = {name.split(".")[0] for name, _ in made.named_parameters()}
    assert names == {"projections", "assign", "shift", "scale", "centroids"}
    assert set(made.projections) == {"image", "text"}


def test_normalised_logits_of_a_batch_have_no_mean_and_unit_variance() -> None:
    made, given = vlad(AssignNorm.BATCH).train(), content()
    assert given.tokens is not None
    assert given.token_mask is not None
    logits = torch.randn(N, LENGTH, K + G, dtype=torch.float64)
    real = made.normalised(logits, given.token_mask, "image")[given.token_mask]
    assert_close(real.mean(dim=0), torch.zeros(K + G, dtype=torch.float64), rtol=0.0, atol=1e-12)
    assert_close(
        real.var(dim=0, unbiased=False),
        torch.ones(K + G, dtype=torch.float64),
        rtol=1e-3,
        atol=0.0,
    )


@pytest.mark.parametrize("n_real", [0, 1])
def test_a_batch_without_variance_is_normalised_as_in_evaluation(n_real: int) -> None:
    made = vlad(AssignNorm.BATCH)
    tokens = torch.randn(1, 2, IMAGE_WIDTH, dtype=torch.float64)
    given = ModalityFeatures(tokens[:, 0], tokens, torch.arange(2)[None] < n_real)
    expected = made(given, "image").vectors
    assert torch.equal(made.train()(given, "image").vectors, expected)


@pytest.mark.parametrize("scale", [0.0, 100.0, -100.0])
def test_extreme_tokens_give_finite_embeddings_and_gradients(scale: float) -> None:
    made = vlad(AssignNorm.BATCH).train()
    tokens = torch.full((N, LENGTH, IMAGE_WIDTH), scale, dtype=torch.float64, requires_grad=True)
    mask = content().token_mask
    found = made(ModalityFeatures(tokens[:, 0], tokens, mask), "image")
    found.vectors.sum().backward()
    assert bool(torch.isfinite(found.vectors).all())
    assert tokens.grad is not None
    assert bool(torch.isfinite(tokens.grad).all())


@every_norm
def test_the_gradient_equals_finite_differences(norm: AssignNorm) -> None:
    made = vlad(norm)
    given = content()
    assert given.tokens is not None
    tokens = given.tokens.clone().requires_grad_()

    def embeddings(tokens: Tensor) -> Tensor:
        found: Tensor = made(
            ModalityFeatures(tokens[:, 0], tokens, given.token_mask), "image"
        ).vectors
        return found

    assert torch.autograd.gradcheck(embeddings, (tokens,))


def test_a_common_rotation_turns_every_embedding_alike() -> None:
    """Rotating projection, assignment weights and centroids rotates the embeddings."""
    made = vlad(projection_norm=ProjectionNorm.BEFORE)
    expected = made(content(), "image").vectors
    rotation = torch.linalg.qr(torch.randn(WIDTH, WIDTH, dtype=torch.float64)).Q
    with torch.no_grad():
        parts: Any = made.projections["image"]
        linear = parts[1]
        linear.weight.copy_(rotation @ linear.weight)
        linear.bias.copy_(rotation @ linear.bias)
        made.assign.copy_(made.assign @ rotation.T)
        made.centroids.copy_(made.centroids @ rotation.T)
    found = made(content(), "image").vectors
    assert_close(found, expected @ rotation.T, rtol=1e-9, atol=1e-12)


def three_clouds(n_each: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    centres = 4 * torch.eye(WIDTH, dtype=torch.float64)[:3]
    noise = 0.1 * torch.randn(3 * n_each, WIDTH, generator=generator, dtype=torch.float64)
    return centres, centres.repeat_interleave(n_each, dim=0) + noise


@every_norm
def test_a_restart_finds_the_clouds_and_assigns_tokens_to_them(norm: AssignNorm) -> None:
    made = vlad(norm)
    centres, samples = three_clouds()
    made.restart(samples, torch.Generator().manual_seed(3))
    distances = torch.cdist(made.centroids.detach(), centres)
    assert sorted(distances.argmin(dim=1).tolist()) == [0, 1, 2]
    assert float(distances.min(dim=1).values.max()) < 0.1
    mask = torch.ones(1, len(samples), dtype=torch.bool)
    assigned = made.assignments(samples[None], mask, "text")[0]
    nearest = torch.cdist(samples, made.centroids.detach()).argmin(dim=1)
    assert torch.equal(assigned[:, :K].argmax(dim=1), nearest)
    assert float(assigned[:, :K].max(dim=1).values.detach().min()) > 0.9


def test_draws_of_plus_plus_fall_into_different_clouds() -> None:
    centres, samples = three_clouds()
    for seed in range(5):
        chosen = plus_plus(samples, 3, torch.Generator().manual_seed(seed))
        assert sorted(torch.cdist(chosen, centres).argmin(dim=1).tolist()) == [0, 1, 2]


@pytest.mark.parametrize("changes", [{"width": 0}, {"n_concepts": 0}, {"n_ghosts": -1}])
def test_sizes_out_of_range_are_refused(changes: dict[str, int]) -> None:
    sizes: dict[str, Any] = {"width": 4, "n_concepts": 3, "n_ghosts": 1} | changes
    message = (
        "GhostVLAD needs positive widths, at least one concept and 0 or more ghosts, got "
        f"image_width 6, text_width 3, width {sizes['width']}, n_concepts {sizes['n_concepts']} "
        f"and n_ghosts {sizes['n_ghosts']}"
    )
    with pytest.raises(SettingError, match=re.escape(message)):
        GhostVlad(IMAGE_WIDTH, TEXT_WIDTH, **sizes)
