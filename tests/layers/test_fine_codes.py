import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from modalhash.errors import ArtifactError
from modalhash.index.rerank import FineBooks
from modalhash.layers import (
    HashHead,
    LinearHead,
    ModalityFeatures,
    TokenTrunk,
    TrunkHead,
    TrunkKind,
)
from modalhash.layers.fine_codes import LocalCoder, build_fine_coder, content_of
from modalhash.layers.ghost_vlad import AssignNorm, GhostVlad, ProjectionNorm
from modalhash.layers.product_quantizer import ProductQuantizer, RotationRule, SubspaceSimilarity


def made_coder(
    place: ProjectionNorm = ProjectionNorm.AFTER,
    rotation: RotationRule = RotationRule.CAYLEY,
    *,
    has_class: bool = False,
) -> LocalCoder:
    torch.manual_seed(0)
    vlad = GhostVlad(
        5, 6, width=8, n_concepts=3, n_ghosts=2,
        assign_norm=AssignNorm.NONE, projection_norm=place,
    )  # fmt: skip
    quantizer = ProductQuantizer(
        3 + has_class,
        8,
        n_subspaces=2,
        n_codewords=7,
        rotation=rotation,
        sharpness=5,
        similarity=SubspaceSimilarity.L2,
    )
    maps: dict[Any, HashHead] = {name: LinearHead(2, 8) for name in ("image", "text")}
    made = LocalCoder(
        vlad,
        5,
        6,
        quantizer,
        class_maps=maps if has_class else None,
        class_share=0.4 if has_class else 0.0,
        code_weight=0.25,
        fine_weight=0.75,
    )
    made.eval()
    return made


def content(n: int = 4, width: int = 5, seed: int = 0) -> ModalityFeatures:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(n, 6, generator=generator) > 0.3
    return ModalityFeatures(
        torch.randn(n, 2, generator=generator), torch.randn(n, 6, width, generator=generator), mask
    )


@pytest.mark.parametrize("place", list(ProjectionNorm))
@pytest.mark.parametrize("rotation", [RotationRule.CAYLEY, RotationRule.NONE])
@pytest.mark.parametrize("has_class", [True, False])
def test_a_coder_is_rebuilt_from_its_description(
    place: ProjectionNorm, rotation: RotationRule, has_class: bool
) -> None:
    one = made_coder(place, rotation, has_class=has_class)
    other = build_fine_coder(one.spec())
    other.load_state_dict(one.state_dict())
    other.eval()
    assert other.spec() == one.spec()
    assert (other.code_weight, other.fine_weight) == (0.25, 0.75)
    for modality, width in (("image", 5), ("text", 6)):
        seen = content(width=width)
        assert torch.equal(one.codes(seen, modality), other.codes(seen, modality))  # type: ignore[arg-type]
        assert torch.equal(one.queries(seen, modality), other.queries(seen, modality))  # type: ignore[arg-type]


@pytest.mark.parametrize("has_local", [True, False])
def test_residual_coders_and_those_of_the_class_vector_alone_are_rebuilt(has_local: bool) -> None:
    torch.manual_seed(1)
    first = LocalCoder(
        GhostVlad(5, 6, width=8, n_concepts=3) if has_local else None,
        5,
        6,
        ProductQuantizer(4 if has_local else 1, 8, n_subspaces=2, n_codewords=7),
        class_maps={"image": LinearHead(2, 8), "text": LinearHead(2, 8)},
        is_residual=has_local,
        code_weight=0.25,
        fine_weight=0.75,
    )
    again = build_fine_coder(first.spec())
    again.load_state_dict(first.state_dict())
    assert again.spec() == first.spec()
    first.eval()
    again.eval()
    items = content()
    assert torch.equal(first.codes(items, "image"), again.codes(items, "image"))
    assert torch.equal(first.queries(items, "image"), again.queries(items, "image"))


def test_the_score_of_tables_is_the_mean_inner_product_of_embeddings() -> None:
    coder = made_coder()
    asked, found = content(seed=1), content(width=6, seed=2)
    books = FineBooks(coder.codewords().numpy(), n_parts=coder.n_parts)
    queries, fine = coder.queries(asked, "image").detach().numpy(), coder.codes(found, "text")
    scores = books.similarity(books.tables(queries[:1])[0], fine.numpy())
    embedding = coder.embeddings(asked, "image")[0].detach()
    decoded = coder.quantizer.decode(fine.view(4, 3, 2)).detach()
    for item in range(4):
        inner = [float(embedding[k] @ decoded[item, k]) for k in range(3)]
        assert_allclose(scores[item], np.mean(inner), rtol=0, atol=1e-5)


def test_the_class_vector_is_one_more_part_with_a_weight_of_its_own() -> None:
    coder = made_coder(has_class=True)
    asked, found = content(seed=1), content(width=6, seed=2)
    assert coder.n_parts == 4
    books = FineBooks(coder.codewords().numpy(), n_parts=coder.n_parts)
    queries, fine = coder.queries(asked, "image").detach().numpy(), coder.codes(found, "text")
    scores = books.similarity(books.tables(queries[:1])[0], fine.numpy())
    embedding = coder.embeddings(asked, "image")[0].detach()
    whole = coder.class_map("image")(asked)[0].detach()
    assert_allclose(
        coder.quantizer.rotation.matrix[3].detach() @ whole / whole.norm(), embedding[3], atol=1e-5
    )
    decoded = coder.quantizer.decode(fine.view(4, 4, 2)).detach()
    for item in range(4):
        inner = [float(embedding[k] @ decoded[item, k]) for k in range(4)]
        expected = 0.6 * np.mean(inner[:3]) + 0.4 * inner[3]
        assert_allclose(scores[item], expected, rtol=0, atol=1e-5)


def test_an_item_without_content_asks_for_nothing() -> None:
    seen = content()
    assert seen.tokens is not None
    empty = ModalityFeatures(seen.pooled, seen.tokens, torch.zeros(4, 6, dtype=torch.bool))
    assert not made_coder().queries(empty, "image").any()


def test_a_coder_reads_what_the_trunk_gives() -> None:
    torch.manual_seed(0)
    trunk = TokenTrunk(TrunkKind.TRANSFORMER, 2, 5, width=4, n_heads=2)
    head, seen = TrunkHead(trunk, LinearHead(2, 3)).eval(), content()
    given, expected = content_of(head, seen).tokens, trunk(seen).tokens
    assert given is not None
    assert torch.equal(given, expected)
    assert content_of(LinearHead(2, 3), seen) is seen


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "global"},
        {"image_width": 0},
        {"n_ghosts": -1},
        {"assign_norm": "layer"},
        {"projection_norm": "never"},
        {"code_weight": "heavy"},
        {"class_maps": {"sound": {}}},
        {"quantizer": {}},
    ],
)
def test_what_can_not_be_built(change: dict[str, Any]) -> None:
    spec = made_coder().spec() | change
    message = f"the model describes a finer coder this version can't build: {spec}"
    with pytest.raises(ArtifactError, match=f"^{re.escape(message)}$"):
        build_fine_coder(spec)
    inner = made_coder().spec()
    for name, value in (("n_subspaces", 3), ("n_codewords", 257), ("rotation", "spin")):
        with pytest.raises(ArtifactError):
            build_fine_coder({**inner, "quantizer": {**inner["quantizer"], name: value}})
