"""Nested codes that learn from labels too: what makes two items alike includes what they show.

Ours. All of `nested`, with the labels of an item, scaled to length 1, beside its picture and its
texts in what makes items alike (its parts: Rifkin and Lippert, MIT-CSAIL-TR-2007-025; Kusupati et
al., 2022, https://arxiv.org/abs/2205.13147).

Objective: that of `nested`, with ::

    y = principal directions of [sqrt(1 - w) [sqrt(a) v ; sqrt(1 - a) m] ; sqrt(w) l]

and w = `label_weight`. Regressions then predict labels along with the rest. Items without a label
have a row of zeros, and are alike by pictures and texts.

Differs from the paper: there is none to differ from.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from modalhash.layers.feature_scaling import unit_rows
from modalhash.methods.base import FeatureShapes, Needs
from modalhash.methods.item_blocks import ItemBlock, pictures_and_texts
from modalhash.methods.nested_method import NestedMethod, NestedSettings
from modalhash.methods.ranges import SHARE

__all__ = ["NestedLabelled", "NestedLabelledSettings"]


@dataclass(frozen=True)
class NestedLabelledSettings(NestedSettings):
    """Settings of nested codes with labels."""

    label_weight: Annotated[float, SHARE] = 0.5
    """Share of the labels in what makes two items alike."""


class NestedLabelled(NestedMethod):
    """Nested codes with labels; see the module's docstring."""

    name = "nested-labelled"
    title = "Nested, labelled"
    needs = frozenset({Needs.LABELS})
    settings_class = NestedLabelledSettings
    settings: NestedLabelledSettings

    def likeness(self, block: ItemBlock) -> tuple[Tensor, Tensor]:
        """Select pictures, and texts beside labels."""
        assert block.labels is not None
        weight = self.settings.label_weight
        image, text = pictures_and_texts(block, self.settings.image_weight)
        labels = math.sqrt(weight) * unit_rows(block.labels)
        rest = math.sqrt(1 - weight)
        return rest * image, torch.cat([rest * text, labels], dim=1)

    def likeness_width(self, shapes: FeatureShapes) -> int:
        """Count the columns of what `likeness` gives."""
        assert shapes.n_classes is not None
        return shapes.image_width + shapes.text_width + shapes.n_classes
