"""HuggingHash+: HuggingHash whose local embeddings are quantized too, to rerank by.

J. Wang, Z. Zeng, B. Chen, Y. Wang, D. Liao, G. Li, Y. Wang, S.-T. Xia: "Hugs bring double benefits:
unsupervised cross-modal hashing with multi-granularity aligned transformers", International
Journal of Computer Vision, 2024. https://doi.org/10.1007/s11263-024-02009-7

HuggingHash throws its local embeddings away after training. HuggingHash+ keeps them, small: a
differentiable optimized product quantizer, learned inside the local alignment, gives each item a
few bytes a concept. A search ranks by Hamming distance as before, then puts its shortlist in the
order of the inner products between the query's exact embeddings and the items' quantized ones. No
labels are used.

Objective, for n pairs; e_mk: local embedding k of modality m, L_g, L_l: those of HuggingHash::

    r_mk  = R_k e_mk                                  R_k: a rotation, learned
    sigma = -S |r^s - C_j|^2                          sub-vector s of S, codeword j of K
    p     = softmax_j(fine_sharpness sigma),  q_mk = sum_j p_j C_j, sub-space by sub-space
    c_mk  = the nearest codewords;  q + (c - q) without gradient in the second half of training
    L_q   = mean over k of (InfoNCE(r_tk . q_vk / |q_vk|) + InfoNCE(r_vk . q_tk / |q_tk|)) / 2,
            each in one direction, at hug_temperature
    L_rec = mean |r_mk - c_mk|^2
    w     = cos(pi epoch / (2 epochs)), 1 before the epoch that the quantizer starts in
    L     = L_g + hug_weight (w L_l + (1 - w) L_q + fine_reconstruction_weight L_rec)
    score = code_share (1 - 2 d_H / b) + (1 - code_share) mean_k <r_query,k , c_item,k>

Differs from the paper: we had its abstract, keywords and the opening of its introduction, and found
no code of its authors. Certain: an optimized quantization that is differentiable and learned within
the local alignment, whose codes rerank. Inferred from the first author's HCQ and MeCoQ: a quantizer
a concept, shared by the modalities; softmax over codewords; exact queries against quantized items;
the blend along a cosine; the weights of both similarities. Ours: the form of OPQ (Cayley rotations
at a tenth of the rate, squared distances), soft first and hard later, start and upkeep of the
codebooks, their sizes, and `fine_neighbour_share`, which lets items with like features share the
local targets; 0 is the contrast of the paper. Results are not a reproduction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch

from modalhash.losses import code_statistics
from modalhash.methods.base import (
    Batch,
    FeatureShapes,
    GradientMethod,
    LossReport,
    Moment,
    Needs,
    Term,
    TrainingView,
)
from modalhash.methods.controls import NamedModule
from modalhash.methods.hugging_hash import DENSE as HUGGING_DENSE
from modalhash.methods.hugging_hash import FINETUNED as HUGGING_FINETUNED
from modalhash.methods.hugging_hash import (
    TRAINING,
    HuggingHashSettings,
    code_terms,
    make_heads,
)
from modalhash.methods.local_alignment import AlignedHeads, trunk_pass
from modalhash.methods.quantized_alignment import (
    FineSettings,
    add_fine_coder,
    after_fine_epoch,
    before_fine_training,
    check_fine_settings,
    fine_alignment,
)
from modalhash.methods.ranges import NOT_NEGATIVE

__all__ = ["HuggingHashPlus", "HuggingHashPlusSettings"]


@dataclass(frozen=True)
class HuggingHashPlusSettings(FineSettings, HuggingHashSettings):
    """Settings of HuggingHash, and those of the finer codes, which start with `fine_`."""

    hug_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Weight of the local alignment, whose embeddings are searched here (ours)."""

    def check_together(self) -> None:
        """Check the trunk, and that finer codes fit the local alignment."""
        super().check_together()
        check_fine_settings(self, self)


DENSE: Mapping[str, Any] = {
    **HUGGING_DENSE,
    "batch_size": 256,
    "least_steps": 240,
    "hug_temperature": 0.3,
    "hug_concepts": 3,
    "fine_subspaces": 16,
    "fine_rotation": "none",
    "fine_class_hidden": 1024,
    "fine_class_share": 0.7,
    "fine_reconstruction_weight": 0.5,
    "fine_neighbour_share": 1.0,
    "fine_neighbour_text": 0.9,
    "fine_neighbour_inside": 0.5,
    "fine_start": 0.4,
}
"""For frozen dense features and small collections (ours, chosen on Flickr8k dev; steps on icons).

The contrast of partners alone gives local embeddings that find partners, not neighbours. Items with
like features share the targets, and the temperature is soft. Few concepts with more bytes each take
no more room than many with few, and quantize more finely; the class vector counts for most.
"""
FINETUNED: Mapping[str, Any] = {
    **HUGGING_FINETUNED,
    "fine_subspaces": 16,
    "fine_codewords": 256,
}


class HuggingHashPlus(GradientMethod[AlignedHeads]):
    """Multi-granularity aligned hashing with codes to rerank by; see the module's docstring."""

    name = "hugging-hash-plus"
    title = "HuggingHash+"
    needs = frozenset({Needs.TOKENS})
    settings_class = HuggingHashPlusSettings
    settings: HuggingHashPlusSettings
    training = TRAINING
    smallest_batch = 2
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dense": DENSE,
        "finetuned": FINETUNED,
        "frozen": {},
    }
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "with a learned rotation": {"fine_rotation": "cayley"},
        "without soft codewords": {"fine_forward": "st"},
        "without hard codewords": {"fine_forward": "soft"},
        "without the reconstruction": {"fine_reconstruction_weight": 0.0},
        "without neighbours": {"fine_neighbour_share": 0.0},
        "with shuffled neighbours": {"fine_neighbours_shuffled": True},
        "without local embeddings": {"fine_local": False},
        "with shuffled local embeddings": {"hug_shuffled": True},
        "without the class vector's code": {"fine_class": False},
        "without ghosts": {"hug_ghosts": 0},
        "one concept": {"hug_concepts": 1},
        "finer codes alone": {"fine_code_share": 0.0},
    }
    modules: ClassVar[Mapping[str, NamedModule]] = {
        "local embeddings": NamedModule(
            "without local embeddings", "with shuffled local embeddings"
        ),
        "neighbours": NamedModule("without neighbours", "with shuffled neighbours"),
    }

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> AlignedHeads:
        """Make hash heads on trunks, the hug, and the finer coder on its local embeddings."""
        heads = make_heads(self.settings, shapes, n_bits)
        add_fine_coder(heads, self.settings, self.settings)
        return heads

    def before_training(self, heads: AlignedHeads, view: TrainingView) -> None:
        """Start the quantizer if it takes part from the first epoch on."""
        before_fine_training(heads, view, self.settings)

    def batch_loss(self, heads: AlignedHeads, batch: Batch, moment: Moment) -> LossReport:
        """Compute the contrast of codes and the weighted local alignment with quantization."""
        image, text = trunk_pass(heads, batch)
        relaxed = torch.tanh(heads.image.head(image)), torch.tanh(heads.text.head(text))
        terms = code_terms(self.settings, *relaxed, batch.items)
        alignment, parts = fine_alignment(
            heads, batch, moment, (image, text), settings=self.settings, hug=self.settings
        )
        terms["local"] = Term(alignment, self.settings.hug_weight)
        return LossReport(terms, {**parts, **code_statistics(*relaxed)})

    def after_epoch(self, heads: AlignedHeads, view: TrainingView, moment: Moment) -> None:
        """Look after clusters, rotations and codebooks."""
        if heads.hug is not None:
            heads.hug.after_epoch(heads, view, moment)
        after_fine_epoch(heads, view, moment, self.settings)
