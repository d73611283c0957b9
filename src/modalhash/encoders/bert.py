"""BERT, DistilBERT and RoBERTa text towers through `transformers`.

Pooled features are position 0 of the last layer, not the tanh pooler; content tokens are the word
pieces of the last layer without [CLS], [SEP] (or RoBERTa's <s>, </s>) and padding.
"""

from typing import Any, Final

from torch import Tensor, nn

from modalhash.encoders.network_towers import NetworkTextTower
from modalhash.encoders.transformer_models import (
    from_source,
    load_model,
    longest_input,
    transformers_package,
)

__all__ = ["DEFAULT_MODEL", "BertTextTower"]

KIND = "bert"
DEFAULT_MODEL = "google-bert/bert-base-cased"
OPTIONS: Final = {
    "bert": {"add_pooling_layer": False},
    "distilbert": {},
    "roberta": {"add_pooling_layer": False},
}
"""Model type to what its constructor needs to leave the tanh pooler out."""


class BertTextTower(NetworkTextTower):
    """A BERT, DistilBERT or RoBERTa; what is longer than the model allows is cut off.

    Args:
        source: hub name or local folder.
        device: where it computes, as torch names it.

    Raises:
        MissingExtraError: if `transformers` isn't installed.
        ModelUnavailableError: if the model can't be had; with the way out.
        UnknownNameError: if it is a model of another family.
        SettingError: if the device isn't there.
    """

    kind = KIND
    tuning_rate = 0.05
    """Heads at 1e-3 and BERT at 5e-5, as HCQ tunes it."""

    def __init__(self, source: str = DEFAULT_MODEL, device: str = "cpu") -> None:
        model = load_model(source, kind=KIND, model_types=tuple(OPTIONS), options=OPTIONS)
        tokenizer = from_source(transformers_package(KIND).AutoTokenizer, source, kind=KIND)
        config = model.network.config
        positions = int(config.max_position_embeddings)
        if model.kind == "roberta":  # its positions are counted from behind the padding's number
            positions -= int(config.pad_token_id) + 1
        super().__init__(model, tokenizer, longest_input(tokenizer, positions), device)
        self._model: Any = model.network
        self.network = nn.ModuleDict({"model": self._model})
        self.hash_weights()
        self.width = self.token_width = int(config.hidden_size)
        self.network.to(self._device)

    def compute(
        self, pieces: Tensor, attended: Tensor, *, with_tokens: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Compute pooled features (n, d) and the states (n, t, w) of every position."""
        states = self._model(input_ids=pieces, attention_mask=attended.long()).last_hidden_state
        return states[:, 0], states if with_tokens else None
