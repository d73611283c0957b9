"""The encoder contract: pictures and texts to features, one modality at a time."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modalhash.data.pictures import SCALED_MARGIN
from modalhash.errors import InputError, ShapeError

__all__ = [
    "Encoder",
    "EncoderFactory",
    "FeatureTable",
    "Identity",
    "ImageTower",
    "TextTower",
    "Tower",
    "TowerOutput",
    "TowerRequest",
    "require_texts",
]

Identity = Mapping[str, Any]
"""What makes two towers interchangeable, as JSON: name, version, weights' hash, width."""


@dataclass(frozen=True)
class TowerOutput:
    """Features of a batch.

    Attributes:
        pooled: (n, d) float32, one vector an item.
        tokens: (n, t, w) float32 content tokens, or None where not asked for; t is that of the
            longest item of the batch.
        token_mask: (n, t) bool, True where a token is real; None exactly where `tokens` is.
    """

    pooled: NDArray[np.float32]
    tokens: NDArray[np.float32] | None = None
    token_mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Check that the shapes agree."""
        if (self.tokens is None) != (self.token_mask is None):
            raise ShapeError("tokens and token_mask come together or not at all")
        if self.tokens is not None and self.token_mask is not None:
            lengths = (len(self.pooled), self.tokens.shape[1])
            if self.tokens.shape[:2] != lengths or self.token_mask.shape != lengths:
                raise ShapeError(
                    f"pooled {self.pooled.shape}, tokens {self.tokens.shape} and token_mask "
                    f"{self.token_mask.shape} don't belong together"
                )


class Tower(ABC):
    """What the image and the text side have in common.

    Attributes:
        width: d, the width of pooled features.
        token_width: w, the width of content tokens; None if the tower has none.
        device: where it computes, as torch names it ("cpu", "cuda:0").
        item_bytes: about how much memory encoding takes, an item of the batch.
    """

    width: int
    token_width: int | None = None
    device: str = "cpu"
    item_bytes: int = 32 << 20

    @abstractmethod
    def identity(self) -> Identity:
        """Describe what makes two towers interchangeable; equal identities give equal features."""

    def state(self) -> Mapping[str, Any]:
        """Export what was fitted to data, as JSON, for the model artifact; empty for most."""
        return {}

    def fingerprint(self) -> str:
        """Compute a SHA-256 of identity and state."""
        document = json.dumps([dict(self.identity()), dict(self.state())], sort_keys=True)
        return hashlib.sha256(document.encode()).hexdigest()


class ImageTower(Tower):
    """Pictures to features.

    Attributes:
        picture_side: pixels that the shorter side of a picture is needed with: larger JPEG files
            may then be decoded smaller, see `read_picture`, and the identity says so. None has
            pictures decoded in full.
    """

    picture_side: int | None = None

    def decode_in_full(self) -> None:
        """Have large JPEG files decoded in full from now on; the identity follows.

        So it was before they were decoded smaller: models of that time state such an identity.
        """
        self.picture_side = None

    def decoding_entry(self) -> Identity:
        """State, for the identity, how large JPEG files are decoded; nothing if in full."""
        if self.picture_side is None:
            return {}
        return {"jpeg": f"decoded smaller, at no less than {SCALED_MARGIN} x {self.picture_side}"}

    @abstractmethod
    def prepare(self, picture: Image.Image) -> NDArray[Any]:
        """Prepare the tower's input for one picture; runs in decoding threads, no torch.

        Args:
            picture: RGB, any size.
        """

    @abstractmethod
    def encode(self, prepared: Sequence[NDArray[Any]], *, with_tokens: bool = False) -> TowerOutput:
        """Encode a batch of prepared pictures.

        Args:
            prepared: what `prepare` returned, at least one.
            with_tokens: also return content tokens.

        Raises:
            FeatureError: if tokens are asked of a tower that has none.
        """


class TextTower(Tower):
    """Texts to features."""

    def fit(self, texts: Sequence[str]) -> "TextTower":
        """Fit this tower to training texts; most need nothing and return themselves."""
        return self

    def knows(self, text: str) -> bool:
        """Tell whether the tower knows any word of a text; without one its features say nothing.

        A tower that reads every text, down to its bytes, knows all; that is the default.
        """
        return True

    @abstractmethod
    def encode(self, texts: Sequence[str], *, with_tokens: bool = False) -> TowerOutput:
        """Encode a batch of texts.

        Args:
            texts: at least one; none may be empty.
            with_tokens: also return content tokens.

        Raises:
            InputError: if a text is empty, see `require_texts`.
            FeatureError: if tokens are asked of a tower that has none.
        """


def require_texts(texts: Sequence[str]) -> None:
    """Refuse an empty batch, texts of nothing but white space, and texts that are no Unicode.

    Raises:
        InputError: naming the place of the first such text.

    Example:
        >>> require_texts(["a dog", " "])
        Traceback (most recent call last):
        modalhash.errors.InputError: texts[1] is empty: give at least one word
    """
    if not texts:
        raise InputError("texts is empty: give at least one text")
    for place, text in enumerate(texts):
        if not text.strip():
            raise InputError(f"texts[{place}] is empty: give at least one word")
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InputError(
                f"texts[{place}] holds half a character (a lone surrogate), which is no valid "
                "Unicode: write it whole"
            )


@dataclass(frozen=True)
class Encoder:
    """One tower a modality.

    Attributes:
        name: the text it is asked for by ("offline", "clip+bow", "clip:FOLDER").
        image: the image tower.
        text: the text tower.
    """

    name: str
    image: ImageTower
    text: TextTower

    def identity(self) -> Identity:
        """Combine both towers' identities and the encoder's name, as JSON."""
        return {
            "name": self.name,
            "image": dict(self.image.identity()),
            "text": dict(self.text.identity()),
        }


@dataclass(frozen=True)
class TowerRequest:
    """What a tower is built from.

    Attributes:
        options: what stands behind the colon of the encoder's name.
        state: what was fitted to data, from the model artifact; empty for a new one.
        device: where it computes.
        models: models that towers of the same encoder share, by their source; filled as they load.
    """

    options: str = ""
    state: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    models: dict[str, Any] = field(default_factory=dict)


class EncoderFactory(ABC):
    """Builds the towers of an encoder of another package; made without arguments.

    A package registers its subclass under the entry point group `modalhash.encoders`.
    """

    @abstractmethod
    def image_tower(self, request: TowerRequest) -> ImageTower | None:
        """Build the image tower; None if the encoder has none."""

    @abstractmethod
    def text_tower(self, request: TowerRequest) -> TextTower | None:
        """Build the text tower; None if the encoder has none."""


class FeatureTable(Protocol):
    """Features of one modality of a whole collection, read by rows; may lie on disk.

    Rows of the image table are item positions, rows of the text table caption positions.
    """

    @property
    def width(self) -> int:
        """Width d of pooled features."""

    @property
    def dtype(self) -> str:
        """Name of the dtype that the numbers are kept in: "float16" or "float32"."""

    @property
    def token_shape(self) -> tuple[int, int] | None:
        """(t, w): most tokens of an item and their width; None if no tokens are stored."""

    def __len__(self) -> int:
        """Count the number of rows."""

    def pooled(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Select the pooled features of some rows, (k, d) float32, in the order of `rows`."""

    def tokens(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Select the tokens of some rows: (k, t, w) float32 and their mask (k, t) bool.

        Raises:
            FeatureError: if no tokens are stored; the message says how to get them.
        """
