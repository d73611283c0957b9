"""The table of encoders, loaded on demand: importing this imports no torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modalhash.encoders.base import Encoder, ImageTower, TextTower
from modalhash.encoders.bow import BagOfWordsTower, BowSettings
from modalhash.encoders.frames import FrameTower
from modalhash.encoders.precomputed import (
    PrecomputedImageTower,
    PrecomputedTextTower,
    width_of_state,
)
from modalhash.errors import DamagedArtifactError, InputError, SettingError, UnknownNameError
from modalhash.extras import import_optional

__all__ = ["ENCODERS", "load_encoder"]

ENCODERS: Mapping[str, str] = {
    "bert": "BERT, DistilBERT or RoBERTa through transformers, text only; bert:NAME or bert:FOLDER",
    "bow": "bag of words or tags, text only; bow:SIZE, bow:SIZE,min_count=N,counts",
    "clip": "CLIP, SigLIP or Chinese-CLIP through transformers; clip:HUB_NAME or clip:FOLDER",
    "offline": "EfficientNet-Lite0 and MiniLM from installed packages; never needs a network",
    "precomputed": "feature arrays that the collection brings",
    "vit": "ViT or DeiT through transformers, pictures only; vit:NAME or vit:FOLDER",
}
"""What `load_encoder` knows, with a line on each; A+B takes pictures from A and texts from B."""


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


def load_encoder(
    name: str,
    *,
    image_state: Mapping[str, Any] | None = None,
    text_state: Mapping[str, Any] | None = None,
    image_folder: Path | None = None,
    text_folder: Path | None = None,
    device: str = "cpu",
) -> Encoder:
    """Return the encoder of a name.

    Args:
        name: a key of `ENCODERS`, with options behind a colon where it takes some
            ("clip:FOLDER"), or a pair such as "clip+bow": pictures from the first, texts from
            the second.
        image_state: what `encoder.image.state()` gave when a model was saved.
        text_state: what `encoder.text.state()` gave when a model was saved.
        image_folder: where the model of the image tower lies instead of where its name says: tuned
            weights, which `save_tuned` wrote.
        text_folder: the same for the text tower.
        device: where towers compute, as torch names it.

    Raises:
        UnknownNameError: if there is no encoder of that name, listing those there are.
        InputError: if the encoder has no tower for a modality.
        SettingError: if its options aren't understood or the device isn't there.
        MissingExtraError: if an optional dependency isn't installed.
        ModelUnavailableError: if weights can't be had.

    Example:
        >>> encoder = load_encoder("precomputed+bow", image_state={"width": 4096})
        >>> encoder.image.width
        4096
    """
    image_name, text_name = split_pair(name)
    image_kind, image_options = kind_and_options(image_name)
    text_kind, text_options = kind_and_options(text_name)
    if text_kind not in TEXT_TOWERS:
        raise InputError(
            f"encoder {text_kind!r} has no text tower: pair it, as in '{text_kind}+bert'"
        )
    if image_kind not in IMAGE_TOWERS:
        raise InputError(
            f"encoder {image_kind!r} has no image tower: pair it, as in 'offline+{image_kind}'"
        )
    image = TowerRequest(str(image_folder or image_options), image_state or {}, device)
    text = TowerRequest(str(text_folder or text_options), text_state or {}, device, image.models)
    return Encoder(name, image_tower(image_kind, image), TEXT_TOWERS[text_kind](text))


def image_tower(kind: str, request: TowerRequest) -> ImageTower:
    """Return an image tower; if its state says so, one of videos' frames.

    Raises:
        DamagedArtifactError: if the state isn't one of these towers.
    """
    tower = IMAGE_TOWERS[kind](request)
    if "frames" not in request.state or isinstance(tower, PrecomputedImageTower):
        return tower
    match request.state:
        case {"frames": int(frames), "frame_grid": int(grid)} if frames > 0 <= grid:
            return FrameTower(tower, frames, grid)
    raise DamagedArtifactError(
        f"the saved state of the image tower is damaged: {dict(request.state)}, expected frames "
        "and frame_grid"
    )


def split_pair(name: str) -> tuple[str, str]:
    """Return the names of the image and the text tower; they are the same unless it is a pair.

    A plus sign inside a folder's name isn't taken for a pair: behind the sign of a pair stands
    the name of an encoder.

    Example:
        >>> split_pair("clip:models/a+b+bow:500")
        ('clip:models/a+b', 'bow:500')
        >>> split_pair("offline")
        ('offline', 'offline')
    """
    kind, _, options = name.partition(":")
    if kind in ENCODERS and options and Path(options).expanduser().is_dir():
        return name, name
    for place, sign in enumerate(name):
        if sign == "+" and name[place + 1 :].partition(":")[0].partition("+")[0] in ENCODERS:
            return name[:place], name[place + 1 :]
    if "+" in name and ":" not in name:
        kind_and_options(name.partition("+")[2])
    return name, name


def kind_and_options(name: str) -> tuple[str, str]:
    """Return what stands before and behind the colon.

    Raises:
        UnknownNameError: if there is no encoder of that name.
    """
    kind, _, options = name.partition(":")
    if kind not in ENCODERS:
        raise UnknownNameError("encoder", kind, ENCODERS)
    return kind, options


def require_no_options(kind: str, request: TowerRequest) -> None:
    """Refuse options of an encoder that takes none.

    Raises:
        SettingError: if there are some.
    """
    if request.options:
        raise SettingError(
            f"encoder {kind!r} takes no options, but {request.options!r} was given: "
            f"write just {kind!r}"
        )


def offline_image(request: TowerRequest) -> ImageTower:
    """Return the image tower of `offline`."""
    require_no_options("offline", request)
    import_optional("torch", extra="offline", feature="the offline encoder")
    from modalhash.encoders.offline_image import OfflineImageTower

    return OfflineImageTower(request.device)


def offline_text(request: TowerRequest) -> TextTower:
    """Return the text tower of `offline`."""
    require_no_options("offline", request)
    import_optional("torch", extra="offline", feature="the offline encoder")
    from modalhash.encoders.offline_text import OfflineTextTower

    return OfflineTextTower(request.device)


def clip_image(request: TowerRequest) -> ImageTower:
    """Return the image tower of `clip`."""
    import_optional("torch", extra="clip", feature="the clip encoder")
    from modalhash.encoders.clip import DEFAULT_MODEL, ClipImageTower, load_clip

    source = request.options or DEFAULT_MODEL
    request.models[source] = load_clip(source)
    return ClipImageTower(source, request.device, request.models[source])


def clip_text(request: TowerRequest) -> TextTower:
    """Return the text tower of `clip`, of the same loaded model as the image tower if it can be."""
    import_optional("torch", extra="clip", feature="the clip encoder")
    from modalhash.encoders.clip import DEFAULT_MODEL, ClipTextTower

    source = request.options or DEFAULT_MODEL
    return ClipTextTower(source, request.device, request.models.get(source))


def vit_image(request: TowerRequest) -> ImageTower:
    """Return the tower of `vit`."""
    import_optional("torch", extra="clip", feature="the vit encoder")
    from modalhash.encoders.vit import DEFAULT_MODEL, VitImageTower

    return VitImageTower(request.options or DEFAULT_MODEL, request.device)


def bert_text(request: TowerRequest) -> TextTower:
    """Return the tower of `bert`."""
    import_optional("torch", extra="clip", feature="the bert encoder")
    from modalhash.encoders.bert import DEFAULT_MODEL, BertTextTower

    return BertTextTower(request.options or DEFAULT_MODEL, request.device)


def bow_text(request: TowerRequest) -> TextTower:
    """Return the tower of `bow`, fitted if there is a state."""
    settings = BowSettings.from_options(request.options)
    if not request.state:
        return BagOfWordsTower(settings)
    return BagOfWordsTower.from_state(settings, request.state)


def precomputed_image(request: TowerRequest) -> ImageTower:
    """Return the image tower of `precomputed`."""
    require_no_options("precomputed", request)
    width = width_of_state(request.state)
    frames = request.state.get("frames", 0)
    if not isinstance(frames, int) or frames < 0:
        raise DamagedArtifactError(
            f"the saved state of the precomputed encoder is damaged: frames is {frames!r}, "
            "expected 0 or more"
        )
    return PrecomputedImageTower(width, frames)


def precomputed_text(request: TowerRequest) -> TextTower:
    """Return the text tower of `precomputed`."""
    require_no_options("precomputed", request)
    return PrecomputedTextTower(width_of_state(request.state))


IMAGE_TOWERS: Mapping[str, Callable[[TowerRequest], ImageTower]] = {
    "clip": clip_image,
    "offline": offline_image,
    "precomputed": precomputed_image,
    "vit": vit_image,
}
TEXT_TOWERS: Mapping[str, Callable[[TowerRequest], TextTower]] = {
    "bert": bert_text,
    "bow": bow_text,
    "clip": clip_text,
    "offline": offline_text,
    "precomputed": precomputed_text,
}
