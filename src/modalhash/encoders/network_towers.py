"""Towers that are torch networks: frozen through `encode`, with gradients through `compute`.

`encode` is what extraction and search call: no gradient, NumPy in and out. `live_features` is what
tuning calls: the same networks, the same pixels and word pieces, tensors out, with gradient where
torch keeps one. Both go through the tower's one `compute`.
"""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from modalhash.encoders.base import (
    Identity,
    ImageTower,
    TextTower,
    TowerOutput,
    require_texts,
)
from modalhash.encoders.devices import split_batch, torch_device
from modalhash.encoders.frames import FrameTower, frame_tokens
from modalhash.encoders.picture_preparation import PicturePreparation
from modalhash.encoders.text_batches import encode_by_length, positions_at_once
from modalhash.encoders.transformer_models import LoadedModel, hash_of_weights
from modalhash.errors import SettingError

__all__ = [
    "NetworkImageTower",
    "NetworkTextTower",
    "NetworkTower",
    "TensorFeatures",
    "live_frame_features",
]


class TensorFeatures(NamedTuple):
    """Features of a batch as tensors on the tower's device.

    Attributes:
        pooled: (n, d) float32.
        tokens: (n, t, w) float32 content tokens, or None where not asked for.
        token_mask: (n, t) bool with them.
    """

    pooled: Tensor
    tokens: Tensor | None = None
    token_mask: Tensor | None = None


class NetworkTower:
    """What picture and text towers that are networks have in common.

    Attributes:
        kind: the encoder's name ("clip"), which loads the tower again from what `save` wrote.
        model: the loaded model that the network is a part of, or all of.
        network: the part that makes this tower's features; everything in it may be tuned.
        tuning_rate: what a method's learning rate is multiplied with for the network.
    """

    kind: str
    model: LoadedModel
    network: nn.Module
    tuning_rate: float
    _weights: str

    def hash_weights(self) -> None:
        """Take note of the network's weights as they are now; identity and fingerprint follow."""
        self._weights = hash_of_weights(*self.network.children())

    def blocks(self) -> nn.ModuleList:
        """List the network's transformer blocks, first to last."""
        lists = (part for part in self.network.modules() if isinstance(part, nn.ModuleList))
        return max(lists, key=len)

    def freeze_blocks(self, n_blocks: int) -> None:
        """Keep the embeddings and the first blocks as they are; 0 leaves everything free.

        Raises:
            SettingError: if there are fewer blocks.
        """
        blocks = self.blocks()
        if n_blocks > len(blocks):
            raise SettingError(
                f"freeze_blocks is {n_blocks}, but {self.model.source} has {len(blocks)} blocks"
            )
        frozen: set[int] = set()
        if n_blocks:
            # What stands before the first block in the network feeds it.
            in_blocks = {id(parameter) for parameter in blocks.parameters()}
            for parameter in self.network.parameters():
                if id(parameter) in in_blocks:
                    break
                frozen.add(id(parameter))
            frozen |= {id(p) for block in blocks[:n_blocks] for p in block.parameters()}
        for parameter in self.network.parameters():
            parameter.requires_grad_(id(parameter) not in frozen)

    @abstractmethod
    def save_beside(self, folder: Path) -> None:
        """Write what loading the tower takes besides the model: tokenizer or preparation."""


class NetworkImageTower(ImageTower, NetworkTower):
    """A picture tower that is a network.

    Args:
        model: the loaded model.
        preparation: how it wants its pictures.
        device: where it computes, as torch names it.

    Raises:
        SettingError: if the device isn't there.
    """

    item_bytes = 32 << 20

    def __init__(
        self, model: LoadedModel, preparation: PicturePreparation, device: str = "cpu"
    ) -> None:
        self._device = torch_device(device)
        self.device = device
        self.model, self.preparation = model, preparation
        self.picture_side = preparation.least_side

    def identity(self) -> Identity:
        """Describe the kind of model, its weights' hash and the preparation of pictures."""
        return {
            "name": self.model.kind,
            "version": 1,
            "weights": self._weights,
            "picture": self.preparation.to_json(),
            **self.decoding_entry(),
            "width": self.width,
        }

    def prepare(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Cut a picture as the model expects it, (height, width, 3) uint8."""
        return self.preparation(picture)

    @torch.inference_mode()
    def encode(self, prepared: Sequence[NDArray[Any]], *, with_tokens: bool = False) -> TowerOutput:
        """Encode prepared pictures; tokens are the patches, row by row."""
        outputs = [
            arrays_of(self.live_features(pictures, with_tokens=with_tokens))
            for pictures in split_batch(prepared, self._device.type)
        ]
        return join_outputs(outputs)

    def live_features(
        self, prepared: Sequence[NDArray[Any]], *, with_tokens: bool = False
    ) -> TensorFeatures:
        """Compute the features of prepared pictures as tensors."""
        pixels = self.scale_pixels(torch.from_numpy(np.stack(prepared)).to(self._device))
        pooled, tokens = self.compute(pixels, with_tokens=with_tokens)
        if tokens is None:
            return TensorFeatures(pooled)
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return TensorFeatures(pooled, tokens, mask)

    def scale_pixels(self, pictures: Tensor) -> Tensor:
        """Scale (n, h, w, 3) uint8 pictures to the (n, 3, h, w) pixels that the network reads."""
        mean = torch.tensor(self.preparation.mean, device=self._device)
        deviation = torch.tensor(self.preparation.deviation, device=self._device)
        pixels = (pictures.float() * self.preparation.scale - mean) / deviation
        return pixels.permute(0, 3, 1, 2)

    @abstractmethod
    def compute(self, pixels: Tensor, *, with_tokens: bool) -> tuple[Tensor, Tensor | None]:
        """Compute the (n, d) pooled features of (n, 3, h, w) pixels and their (n, t, w) patches."""

    def save_beside(self, folder: Path) -> None:
        """Write `preprocessor_config.json`, which `load_preparation` reads."""
        preparation = self.preparation
        size = (
            {"shortest_edge": preparation.shorter_side}
            if preparation.shorter_side is not None
            else dict(
                zip(
                    ("height", "width"),
                    preparation.squeezed or (preparation.height, preparation.width),
                    strict=True,
                )
            )
        )
        is_cut = preparation.shorter_side is not None or preparation.squeezed is not None
        document = {
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": True,
            "do_resize": True,
            "size": size,
            "resample": preparation.filter,
            "do_center_crop": is_cut,
            "crop_size": {"height": preparation.height, "width": preparation.width},
            "do_rescale": True,
            "rescale_factor": preparation.scale,
            "do_normalize": True,
            "image_mean": list(preparation.mean),
            "image_std": list(preparation.deviation),
        }
        text = json.dumps(document, indent=2) + "\n"
        (folder / "preprocessor_config.json").write_text(text, encoding="utf-8")


def live_frame_features(
    tower: FrameTower,
    network: NetworkImageTower,
    prepared: Sequence[NDArray[Any]],
    *,
    with_tokens: bool = False,
) -> TensorFeatures:
    """Compute the features of videos as tensors; as `FrameTower.encode`, with gradient.

    Args:
        tower: how videos are read.
        network: the picture tower in it.
        prepared: of each video its frames.
        with_tokens: also return content tokens.
    """
    frames = [frame for video in prepared for frame in video]
    outputs = network.live_features(frames, with_tokens=with_tokens and tower.grid > 0)
    lengths = [len(video) for video in prepared]
    own = torch.split(outputs.pooled, lengths)
    pooled = torch.stack([video.mean(dim=0) for video in own])
    if not with_tokens:
        return TensorFeatures(pooled)
    patches = [None] * len(own) if outputs.tokens is None else torch.split(outputs.tokens, lengths)
    tokens = [
        frame_tokens(*both, tower.grid, torch.stack) for both in zip(own, patches, strict=True)
    ]
    counts = torch.tensor([len(video_tokens) for video_tokens in tokens], device=pooled.device)
    mask = torch.arange(int(counts.max()), device=pooled.device) < counts[:, None]
    return TensorFeatures(pooled, nn.utils.rnn.pad_sequence(tokens, batch_first=True), mask)


class NetworkTextTower(TextTower, NetworkTower):
    """A text tower that is a network; what is longer than the model allows is cut off.

    Args:
        model: the loaded model.
        tokenizer: of `transformers`.
        longest: word pieces of a text at most, marks included.
        device: where it computes, as torch names it.

    Raises:
        SettingError: if the device isn't there.
    """

    item_bytes = 8 << 20
    pad_to = 0
    """Every text is filled up to at least this length."""

    def __init__(
        self, model: LoadedModel, tokenizer: Any, longest: int, device: str = "cpu"
    ) -> None:
        self._device = torch_device(device)
        self.device = device
        self.model, self._tokenizer, self._longest = model, tokenizer, longest
        self._fill = int(tokenizer.pad_token_id or 0)
        self._tokenized(["a"])  # sets the tokenizer's truncation before threads share it

    def identity(self) -> Identity:
        """Describe the kind of model, its weights' and tokenizer's hashes and the length limit."""
        return {
            "name": self.model.kind,
            "version": 1,
            "weights": self._weights,
            "tokenizer": self.tokenizer_hash(),
            "longest": self.longest,
            "width": self.width,
        }

    @property
    def longest(self) -> int:
        """Word pieces of a text at most, marks included."""
        return self._longest

    def tokenizer_hash(self) -> str:
        """Compute a SHA-256 of the vocabulary and the kind of tokenizer."""
        described = json.dumps(
            [sorted(self._tokenizer.get_vocab().items()), type(self._tokenizer).__name__]
        )
        return hashlib.sha256(described.encode()).hexdigest()

    def encode(self, texts: Sequence[str], *, with_tokens: bool = False) -> TowerOutput:
        """Encode texts, shorter ones first, and return them in the order given."""
        require_texts(texts)
        encodings = self._tokenized(texts)
        return encode_by_length(
            encodings["input_ids"],
            contents_of(encodings),
            self._arrays,
            limit=positions_at_once(self._device.type),
            fill=self._fill,
            pad_to=self.pad_to,
            with_tokens=with_tokens,
        )

    def live_features(self, texts: Sequence[str], *, with_tokens: bool = False) -> TensorFeatures:
        """Compute the features of texts as tensors; content tokens stand at the front."""
        require_texts(texts)
        encodings = self._tokenized(texts)
        rows, contents = encodings["input_ids"], contents_of(encodings)
        length = max(self.pad_to, *map(len, rows))
        pieces = torch.full((len(rows), length), self._fill)
        attended = torch.zeros((len(rows), length), dtype=torch.bool)
        content = torch.zeros_like(attended)
        for place, (row, own) in enumerate(zip(rows, contents, strict=True)):
            pieces[place, : len(row)] = torch.tensor(row)
            attended[place, : len(row)] = True
            content[place, : len(row)] = torch.tensor(own)
        pooled, states = self.compute(
            pieces.to(self._device), attended.to(self._device), with_tokens=with_tokens
        )
        if states is None:
            return TensorFeatures(pooled)
        n_content = content.sum(dim=1)
        longest = max(1, int(n_content.max()))
        mask = (torch.arange(longest) < n_content[:, None]).to(self._device)
        # Content first, in its order; the rest behind it is cut off or masked.
        order = torch.argsort((~content).long(), dim=1, stable=True)[:, :longest].to(self._device)
        tokens = states.gather(1, order[:, :, None].expand(-1, -1, states.shape[2]))
        return TensorFeatures(pooled, tokens * mask[:, :, None], mask)

    @abstractmethod
    def compute(
        self, pieces: Tensor, attended: Tensor, *, with_tokens: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Compute pooled features (n, d) and the states (n, t, w) of every position.

        Args:
            pieces: (n, t) int64 numbers of word pieces, filled up at the end of each row.
            attended: (n, t) bool, False where filled up.
            with_tokens: also return the states.
        """

    @torch.inference_mode()
    def _arrays(
        self, pieces: NDArray[np.int64], mask: NDArray[np.bool_], *, with_tokens: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Compute the vectors of padded texts and their states; see `TextComputation`."""
        pooled, states = self.compute(
            torch.from_numpy(pieces).to(self._device),
            torch.from_numpy(mask).to(self._device),
            with_tokens=with_tokens,
        )
        return pooled.cpu().numpy(), None if states is None else states.cpu().numpy()

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, of `transformers`."""
        return self._tokenizer

    def knows(self, text: str) -> bool:
        """Tell whether a text has a word piece that is no mark and isn't unknown."""
        (pieces,) = self._tokenized([text])["input_ids"]
        return not set(pieces) <= set(self._tokenizer.all_special_ids)

    def _tokenized(self, texts: Sequence[str]) -> Mapping[str, Any]:
        """Split texts into word pieces and find the marks: unpadded, cut to the longest length."""
        encodings: Mapping[str, Any] = self._tokenizer(
            list(texts),
            truncation=True,
            max_length=self._longest,
            return_attention_mask=False,
            return_special_tokens_mask=True,
        )
        return encodings

    def save_beside(self, folder: Path) -> None:
        """Write the tokenizer."""
        self._tokenizer.save_pretrained(folder)


def contents_of(encodings: Mapping[str, Any]) -> list[list[bool]]:
    """Tell which word pieces of each text are no marks."""
    return [[not is_special for is_special in row] for row in encodings["special_tokens_mask"]]


def join_outputs(outputs: Sequence[TowerOutput]) -> TowerOutput:
    """Join outputs whose items have equally many tokens, or none."""
    pooled = np.concatenate([output.pooled for output in outputs])
    tokens = [output.tokens for output in outputs if output.tokens is not None]
    masks = [output.token_mask for output in outputs if output.token_mask is not None]
    if not tokens:
        return TowerOutput(pooled)
    return TowerOutput(pooled, np.concatenate(tokens), np.concatenate(masks))


def arrays_of(features: TensorFeatures) -> TowerOutput:
    """Convert tensors to arrays."""
    if features.tokens is None or features.token_mask is None:
        return TowerOutput(features.pooled.cpu().numpy())
    return TowerOutput(
        features.pooled.cpu().numpy(),
        features.tokens.cpu().numpy(),
        features.token_mask.cpu().numpy(),
    )
