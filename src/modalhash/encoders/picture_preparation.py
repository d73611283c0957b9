"""How models want their pictures; those of `transformers`, without its image processors."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from modalhash.errors import ModelUnavailableError

__all__ = ["CentreSquare", "PicturePreparation", "load_preparation"]


@dataclass(frozen=True)
class CentreSquare:
    """Cuts out the centre square of a picture and brings it to one size (bicubic).

    Attributes:
        side: of the square that comes out; a picture of this size stays as it is.
    """

    side: int

    def __call__(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Cut and resize a picture to (side, side, 3) uint8."""
        size = (self.side, self.side)
        if picture.size != size:
            picture = ImageOps.fit(picture, size, Image.Resampling.BICUBIC)
        return np.asarray(picture.convert("RGB"))


@dataclass(frozen=True)
class PicturePreparation:
    """How a model wants its pictures, as its `preprocessor_config.json` says.

    Attributes:
        height: of the model's input.
        width: of the model's input.
        shorter_side: bring the shorter side to this many pixels, then cut out the centre;
            None squeezes the whole picture to `squeezed`.
        filter: number of Pillow's resampling filter.
        scale: what pixel values are multiplied with.
        mean: subtracted after that, one a channel.
        deviation: what the rest is divided by, one a channel.
        squeezed: (height, width) to squeeze the whole picture to before the centre is cut out;
            None is height x width. Only without `shorter_side`.
    """

    height: int
    width: int
    shorter_side: int | None
    filter: int
    scale: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    squeezed: tuple[int, int] | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "PicturePreparation":
        """Read a preprocessor configuration.

        Raises:
            KeyError, TypeError, ValueError: if it isn't of a kind this class can follow.
        """
        size: Any = config["size"]
        crop: Any = config.get("crop_size")
        if isinstance(size, int):
            size = {"shortest_edge": size}
        if isinstance(crop, int):
            crop = {"height": crop, "width": crop}
        does_resize = config.get("do_resize", True)
        shorter_side = size.get("shortest_edge") if does_resize else None
        has_crop = bool(config.get("do_center_crop", False)) and crop is not None
        if shorter_side is not None and not has_crop:
            raise ValueError("a shortest_edge without a centre crop leaves sizes open")
        target: Any = crop if has_crop else size
        target_size = (int(target["height"]), int(target["width"]))
        squeezed = None
        if has_crop and does_resize and shorter_side is None:
            squeezed = (int(size["height"]), int(size["width"]))
        normalises = config.get("do_normalize", True)
        return cls(
            height=target_size[0],
            width=target_size[1],
            shorter_side=None if shorter_side is None else int(shorter_side),
            filter=int(config.get("resample", Image.Resampling.BICUBIC)),
            scale=float(config.get("rescale_factor", 1 / 255)),
            mean=tuple(map(float, config["image_mean"])) if normalises else (0.0, 0.0, 0.0),
            deviation=tuple(map(float, config["image_std"])) if normalises else (1.0, 1.0, 1.0),
            squeezed=None if squeezed == target_size else squeezed,
        )

    @property
    def least_side(self) -> int:
        """Pixels that the shorter side of a picture must have so that it isn't enlarged."""
        return self.shorter_side or max(self.squeezed or (self.height, self.width))

    def __call__(self, picture: Image.Image) -> NDArray[np.uint8]:
        """Resize and cut a picture to (height, width, 3) uint8; scaling is left to the device."""
        picture = picture.convert("RGB")
        if self.shorter_side is None:
            height, width = self.squeezed or (self.height, self.width)
            resized = (width, height)
        else:
            shorter, longer = sorted(picture.size)
            longer = int(self.shorter_side * longer / shorter)
            is_wide = picture.width > picture.height
            resized = (longer, self.shorter_side) if is_wide else (self.shorter_side, longer)
        if picture.size != resized:
            picture = picture.resize(resized, Image.Resampling(self.filter))
        left, top = (resized[0] - self.width) // 2, (resized[1] - self.height) // 2
        return np.asarray(picture.crop((left, top, left + self.width, top + self.height)))

    def to_json(self) -> dict[str, Any]:
        """Convert all of it to JSON, for identities; `squeezed` only where there is one."""
        settings = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }
        if self.squeezed is None:
            del settings["squeezed"]
        return settings

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> "PicturePreparation":
        """Make the preparation that `to_json` described."""
        squeezed = settings.get("squeezed")
        return cls(
            height=int(settings["height"]),
            width=int(settings["width"]),
            shorter_side=settings["shorter_side"],
            filter=int(settings["filter"]),
            scale=float(settings["scale"]),
            mean=tuple(settings["mean"]),
            deviation=tuple(settings["deviation"]),
            squeezed=None if squeezed is None else tuple(squeezed),
        )


def load_preparation(source: str, *, kind: str) -> PicturePreparation:
    """Read how a model wants its pictures.

    Args:
        source: hub name or folder.
        kind: the encoder's name, for messages.

    Raises:
        ModelUnavailableError: if its configuration can't be had or isn't understood.
    """
    from modalhash.encoders.transformer_models import from_source, transformers_package

    processor = from_source(transformers_package(kind).AutoImageProcessor, source, kind=kind)
    try:
        return PicturePreparation.from_config(processor.to_dict())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelUnavailableError(
            f"preprocessor_config.json of {source} can't be followed ({error!r}): expected size, "
            "image_mean and image_std as CLIP, SigLIP, Chinese-CLIP, ViT and DeiT have them"
        ) from error
