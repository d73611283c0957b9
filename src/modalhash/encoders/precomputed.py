"""Towers of collections that bring feature arrays instead of pictures and texts."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from modalhash.encoders.base import Identity, ImageTower, TextTower, TowerOutput
from modalhash.errors import DamagedArtifactError, FeatureError

__all__ = ["PrecomputedImageTower", "PrecomputedTextTower", "width_of_state"]


def refuse_raw_input(kind: str) -> NoReturn:
    """Say that arrays can't be made from raw input.

    Raises:
        FeatureError: always.
    """
    raise FeatureError(
        f"the precomputed encoder can't encode {kind}: the features came as arrays. Encode with "
        "arrays (`encode_features`), or train with an encoder such as 'offline' or 'clip'"
    )


def width_of_state(state: Mapping[str, Any] | None) -> int:
    """Read the width from a saved state; 0 (not known yet) without one.

    Raises:
        DamagedArtifactError: if the state isn't one of these towers.
    """
    if not state:
        return 0
    width = state.get("width")
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        raise DamagedArtifactError(
            f"the saved state of the precomputed encoder is damaged: width is {width!r}, expected "
            "a positive number"
        )
    return width


class PrecomputedImageTower(ImageTower):
    """Image features that came as an array, or features of videos' frames.

    Args:
        width: of the array; 0 until a collection is there.
        frames: of a video at most, each a content token; 0 if there are no videos.
    """

    def __init__(self, width: int = 0, frames: int = 0) -> None:
        self.width, self.frames = width, frames
        self.token_width = width if frames else None

    def identity(self) -> Identity:
        """Describe such features by all that is known of them: name, width and frames."""
        return {"name": "precomputed", "version": 1, "width": self.width, **self.frames_entry()}

    def state(self) -> Mapping[str, Any]:
        """Export the width and the frames, as JSON."""
        return {"width": self.width, **self.frames_entry()} if self.width else {}

    def frames_entry(self) -> dict[str, int]:
        """Describe the frames, for identity and state; nothing without videos."""
        return {"frames": self.frames} if self.frames else {}

    def prepare(self, picture: object) -> NoReturn:
        """Refuse a picture.

        Raises:
            FeatureError: always, with the way out.
        """
        refuse_raw_input("pictures")

    def encode(self, prepared: Sequence[Any], *, with_tokens: bool = False) -> TowerOutput:
        """Refuse pictures.

        Raises:
            FeatureError: always, with the way out.
        """
        refuse_raw_input("pictures")


class PrecomputedTextTower(TextTower):
    """Text features that came as an array.

    Args:
        width: of the array; 0 until a collection is there.
    """

    def __init__(self, width: int = 0) -> None:
        self.width = width

    def identity(self) -> Identity:
        """Describe such features by all that is known of them: name and width."""
        return {"name": "precomputed", "version": 1, "width": self.width}

    def state(self) -> Mapping[str, Any]:
        """Export the width, as JSON."""
        return {"width": self.width} if self.width else {}

    def encode(self, texts: Sequence[str], *, with_tokens: bool = False) -> TowerOutput:
        """Refuse texts.

        Raises:
            FeatureError: always, with the way out.
        """
        refuse_raw_input("texts")
