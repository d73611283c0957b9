"""Towers of encoders that were exported to ONNX: the same features without torch.

Values differ from torch's in the last bits of a float, as those of another version of torch do.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modalhash.encoders.base import (
    Identity,
    ImageTower,
    TextTower,
    TowerOutput,
    require_texts,
)
from modalhash.encoders.onnx_sessions import OnnxSession
from modalhash.encoders.picture_preparation import CentreSquare, PicturePreparation
from modalhash.encoders.text_batches import encode_by_length, positions_at_once
from modalhash.encoders.word_knowledge import has_latin_piece
from modalhash.errors import DamagedArtifactError, FeatureError
from modalhash.extras import import_optional
from modalhash.files import open_regular_file

__all__ = ["OnnxImageTower", "OnnxTextTower"]

FEATURES: Final = "features"


def refuse_tokens(with_tokens: bool) -> None:
    """Refuse to make content tokens.

    Raises:
        FeatureError: if they are asked for.
    """
    if with_tokens:
        raise FeatureError(
            "an encoder in ONNX files makes no content tokens: install modalhash[offline] and take "
            "the model that was exported"
        )


class OnnxImageTower(ImageTower):
    """A picture tower in an ONNX file.

    Args:
        session: the network, from (n, h, w, 3) uint8 `pixels` to (n, d) `features`.
        about: what `onnx.json` says of it: `identity`, `width`, `picture` and `picture_side`.
    """

    def __init__(self, session: OnnxSession, about: Mapping[str, Any]) -> None:
        self._session, self._identity = session, dict(about["identity"])
        self.width = int(about["width"])
        self._prepare = read_preparation(about["picture"])
        side = about["picture_side"]
        self.picture_side = None if side is None else int(side)

    def identity(self) -> Identity:
        """Describe the tower that was exported."""
        return self._identity

    def prepare(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Cut a picture as the tower that was exported does, (h, w, 3) uint8."""
        return self._prepare(picture)

    def encode(self, prepared: Sequence[NDArray[Any]], *, with_tokens: bool = False) -> TowerOutput:
        """Encode prepared pictures, one at a time; there are no tokens."""
        refuse_tokens(with_tokens)
        pooled = [
            self._session.run({"pixels": np.asarray(picture)[None]}, FEATURES)[0]
            for picture in prepared
        ]
        return TowerOutput(np.concatenate(pooled))


class OnnxTextTower(TextTower):
    """A text tower in an ONNX file, with its tokenizer.

    Args:
        session: the network, from (n, t) int64 `input_ids` and `attention_mask` to (n, d)
            `features`.
        about: what `onnx.json` says of it: `identity`, `width`, `longest`, `fill`, `pad_to` and
            `known`.
        tokenizer: file of the tokenizer.

    Raises:
        DamagedArtifactError: if the tokenizer can't be read.
        MissingExtraError: if the package `tokenizers` isn't installed.
    """

    def __init__(self, session: OnnxSession, about: Mapping[str, Any], tokenizer: Path) -> None:
        self._session, self._identity = session, dict(about["identity"])
        self.width = int(about["width"])
        self._fill, self._pad_to = int(about["fill"]), int(about["pad_to"])
        self._known = dict(about["known"])
        self._tokenizer = read_tokenizer(tokenizer, int(about["longest"]))

    def identity(self) -> Identity:
        """Describe the tower that was exported."""
        return self._identity

    def knows(self, text: str) -> bool:
        """Tell whether the tower that was exported knows any word of a text."""
        encoding = self._tokenizer.encode(text)
        if self._known["rule"] == "latin":
            return has_latin_piece(
                encoding.tokens, encoding.special_tokens_mask, self._known["unknown"]
            )
        return not set(encoding.ids) <= set(self._known["marks"])

    def encode(self, texts: Sequence[str], *, with_tokens: bool = False) -> TowerOutput:
        """Encode texts, shorter ones first, and return them in the order given."""
        refuse_tokens(with_tokens)
        require_texts(texts)
        encodings = self._tokenizer.encode_batch(list(texts))
        return encode_by_length(
            [encoding.ids for encoding in encodings],
            [[not is_special for is_special in row.special_tokens_mask] for row in encodings],
            self._compute,
            limit=positions_at_once("cpu"),
            fill=self._fill,
            pad_to=self._pad_to,
        )

    def _compute(
        self, pieces: NDArray[np.int64], mask: NDArray[np.bool_], *, with_tokens: bool
    ) -> tuple[NDArray[np.float32], None]:
        """Compute the vectors of padded texts; see `TextComputation`."""
        del with_tokens
        inputs = {"input_ids": pieces}
        if "attention_mask" in self._session.input_names:  # SigLIP reads its padding
            inputs["attention_mask"] = mask.astype(np.int64)
        (pooled,) = self._session.run(inputs, FEATURES)
        return pooled, None


def read_preparation(described: Mapping[str, Any]) -> CentreSquare | PicturePreparation:
    """Read how pictures are prepared."""
    if described["kind"] == "centre square":
        return CentreSquare(int(described["side"]))
    return PicturePreparation.from_json(described)


def read_tokenizer(path: Path, longest: int) -> Any:
    """Read a tokenizer, whose texts are cut to `longest` word pieces."""
    tokenizers = import_optional("tokenizers", extra="onnx", feature="a text encoder in ONNX files")
    try:
        with open_regular_file(path) as file:
            tokenizer = tokenizers.Tokenizer.from_str(file.read().decode("utf-8"))
    except Exception as error:  # the package raises bare exceptions
        raise DamagedArtifactError(
            f"{path} can't be read ({str(error)[:200]}): export the model again"
        ) from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    return tokenizer
