"""Nested codes: one model for all lengths, in which the first bits of a code are a code.

Ours. Its parts are known: kernel ridge regression with its left-out predictions (R. Rifkin and R.
Lippert: "Notes on regularized least squares", MIT-CSAIL-TR-2007-025), losses on every prefix (A.
Kusupati et al.: "Matryoshka representation learning", 2022, https://arxiv.org/abs/2205.13147) and
contrast (A. van den Oord et al., 2018, https://arxiv.org/abs/1807.03748).

What makes two items alike is read off the training pairs: pictures, and the mean of
all texts of an item. A kernel regression takes each modality to the space of that likeness, in
closed form. Bits are then learned on what the regression says of each training item when that item
is left out of it, which is how an unseen item will be met, against what it says of the items that
are in the collection. They are learned as they are searched: a query keeps its numbers, what is
stored is signs. No labels are used; `nested_labelled` takes them in as well.

Objective, for n items with picture features v, first texts t, each text t', mean texts m, all
centred and of length 1, and a = `image_weight`, c = `ridge`, e = `pair_emphasis`::

    y  = principal directions of [sqrt(a) v ; sqrt(1 - a) m]            the common space
    f  = k(v, V) (K + c I)^-1 Y,  k(x, y) = exp(-sharpness |x - y|^2)   and g from t likewise
    f' = y - ((K + c I)^-1 y) / diag((K + c I)^-1)                      v left out
    g' = g(t') of the regression without the item of t'                 a text of it, at random
    q  = bits(.) of f', g'                                              queries
    h  = sign(bits(.)) of f', g', f, g                                  what is searched
    S  = y y^T,  N = softmax(S / target_temperature), row by row

    for every length, on the first bits, with cosines of queries q and codes h:
    pairs        = mean over both directions of the cross-entropy of
                   softmax(cos(q(f'), h(g')) / pair_temperature) to the partner
    neighbours   = mean over both directions of the cross-entropy of
                   softmax(cos(q(f'), h(g)) / neighbour_temperature) to N
    similarities = mean over both directions of (z cos(q(f'), h(g)) - S)^2, z >= 0 the best factor
    L = sum over lengths, the whole code with half of the weight and its prefixes with the rest, of
        e pairs + (1 - e) (neighbour_weight neighbours + similarity_weight 2 similarities)

The sign has the gradient of tanh(factor .), factor from 1 to 1 + sharpening. With `hamming_share`
w, L is 1 - w of this and w of the same with q = h = tanh(factor bits(.)), which is how Hamming
distances meet a query. The affine part of `bits` starts as the principal directions themselves, as
long as they are, its hidden layer at nothing: the lengths of its rows are the weights of bits in a
query, and cost a stored item nothing. What left-out items teach is the point: trained on fitted
items, bits learn details that unseen items don't have.

Where f' and g' of many pairs agree no better than those of two random items (`pair_agreement`),
many pairs are wrong. Both regressions then count a pair by the square of its probability of being
right, and bits are learned on the pairs that are more probably right than wrong.

Differs from the paper: there is none to differ from.
"""

from torch import Tensor

from modalhash.methods.base import FeatureShapes
from modalhash.methods.item_blocks import ItemBlock, pictures_and_texts
from modalhash.methods.nested_method import NestedMethod, NestedSettings

__all__ = ["Nested"]


class Nested(NestedMethod):
    """Nested codes without labels; see the module's docstring."""

    name = "nested"
    title = "Nested"
    settings_class = NestedSettings

    def likeness(self, block: ItemBlock) -> tuple[Tensor, Tensor]:
        """Select pictures and mean texts."""
        return pictures_and_texts(block, self.settings.image_weight)

    def likeness_width(self, shapes: FeatureShapes) -> int:
        """Count the columns of what `likeness` gives."""
        return shapes.image_width + shapes.text_width
