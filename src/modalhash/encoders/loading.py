"""The table of encoders, loaded on demand: importing this imports no torch."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from modalhash.data import Modality
from modalhash.encoders.base import (
    Encoder,
    EncoderFactory,
    ImageTower,
    TextTower,
    Tower,
    TowerRequest,
)
from modalhash.encoders.bow import BagOfWordsTower, BowSettings
from modalhash.encoders.frames import FrameTower
from modalhash.encoders.local_models import local_models_only
from modalhash.encoders.precomputed import (
    PrecomputedImageTower,
    PrecomputedTextTower,
    width_of_state,
)
from modalhash.errors import DamagedArtifactError, InputError, SettingError, UnknownNameError
from modalhash.extras import import_optional
from modalhash.modalities import MODALITIES
from modalhash.registries import Registry, is_class_path

__all__ = ["ENCODERS", "REGISTRY", "check_encoder", "encoder_name", "load_encoder"]

ENCODERS: Mapping[str, str] = {
    "bert": "BERT, DistilBERT or RoBERTa through transformers, text only; bert:NAME or bert:FOLDER",
    "bow": "bag of words or tags, text only; bow:SIZE, bow:SIZE,min_count=N,counts",
    "clip": "CLIP, SigLIP or Chinese-CLIP through transformers; clip:HUB_NAME or clip:FOLDER",
    "offline": "EfficientNet-Lite0 and MiniLM from installed packages; never needs a network",
    "offline-shared": "pictures by the classes they show, and MiniLM, in one space; no network",
    "precomputed": "feature arrays that the collection brings",
    "vit": "ViT or DeiT through transformers, pictures only; vit:NAME or vit:FOLDER",
}
"""What `load_encoder` knows, with a line on each; A+B takes pictures from A and texts from B."""


SHARED_SPACES = frozenset({"clip", "offline-shared"})
"""Encoders whose pictures and texts lie in one space."""


def load_bases() -> tuple[type, ...]:
    """Load the class that encoders of other packages are subclasses of."""
    return (EncoderFactory,)


REGISTRY = Registry("encoder", "encoders", {}, load_bases)
"""Encoders of installed packages."""


def load_encoder(
    name: str,
    *,
    image_state: Mapping[str, Any] | None = None,
    text_state: Mapping[str, Any] | None = None,
    image_folder: Path | None = None,
    text_folder: Path | None = None,
    device: str = "cpu",
    from_file: bool = False,
) -> Encoder:
    """Load the encoder of a name.

    Args:
        name: a key of `ENCODERS`, or what an installed package registers, or `MODULE:CLASS`, with
            options behind a colon where it takes some ("clip:FOLDER"), or a pair such as
            "clip+bow": pictures from the first, texts from the second.
        image_state: what `encoder.image.state()` gave when a model was saved.
        text_state: what `encoder.text.state()` gave when a model was saved.
        image_folder: where the model of the image tower lies instead of where its name says: tuned
            weights, which `save_tuned` wrote.
        text_folder: the same for the text tower.
        device: where towers compute, as torch names it.
        from_file: whether a file chose the name: models are then looked for on this machine only;
            see also `Registry.load`.

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
    image = TowerRequest(str(image_folder or image_options), image_state or {}, device)
    text = TowerRequest(str(text_folder or text_options), text_state or {}, device, image.models)
    make_text = find_maker(text_kind, "text", from_file=from_file)
    make_image = find_maker(image_kind, "image", from_file=from_file)
    with local_models_only() if from_file else nullcontext():
        return Encoder(name, framed(make_image(image), image), make_text(text))


def check_encoder(name: str) -> None:
    """Refuse a name that `load_encoder` would, before anything is loaded.

    Raises:
        UnknownNameError: if there is no encoder of that name, listing those there are.
        InputError: if the encoder has no tower for a modality.
    """
    for side, part in zip(MODALITIES, split_pair(name), strict=True):
        find_maker(kind_and_options(part)[0], side, from_file=False)


def encoder_name(encoder: str | type[EncoderFactory]) -> str:
    """Name an encoder by the name of its class, or by what it is called already.

    Raises:
        InputError: if a class isn't a whole encoder.
    """
    if isinstance(encoder, str):
        return encoder
    return REGISTRY.name_of(REGISTRY.check_class(encoder, f"encoder {encoder!r}"))


def find_maker(kind: str, side: Modality, *, from_file: bool) -> Callable[[TowerRequest], Any]:
    """Find what builds the tower of one side of an encoder.

    Raises:
        InputError: if the encoder has no tower for that side.
    """
    towers = IMAGE_TOWERS if side == "image" else TEXT_TOWERS
    if kind in towers:
        return towers[kind]
    if kind in ENCODERS:
        raise no_tower(kind, side)
    factory = REGISTRY.load(kind, from_file=from_file)()

    def build(request: TowerRequest) -> Tower:
        tower = factory.image_tower(request) if side == "image" else factory.text_tower(request)
        expected = ImageTower if side == "image" else TextTower
        if tower is None:
            raise no_tower(kind, side)
        if not isinstance(tower, expected):
            raise InputError(
                f"encoder {kind!r} makes a {type(tower).__name__} for its {side} side, expected "
                f"a modalhash.encoders.{expected.__name__}"
            )
        return tower

    return build


def no_tower(kind: str, side: Modality) -> InputError:
    """Make the error of an encoder that lacks a side; it names a pair that has both."""
    example = f"offline+{kind}" if side == "image" else f"{kind}+bert"
    return InputError(f"encoder {kind!r} has no {side} tower: pair it, as in '{example}'")


def framed(tower: ImageTower, request: TowerRequest) -> ImageTower:
    """Wrap an image tower into one for videos' frames, if its state says so.

    Raises:
        DamagedArtifactError: if the state isn't one of these towers.
    """
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
    """Split an encoder's name into the image and the text tower; they differ only for a pair.

    A plus sign inside a folder's name isn't taken for a pair: behind the sign of a pair stands
    the name of an encoder.

    Example:
        >>> split_pair("clip:models/a+b+bow:500")
        ('clip:models/a+b', 'bow:500')
        >>> split_pair("offline")
        ('offline', 'offline')
    """
    kind, _, options = name.partition(":")
    if options and is_known(kind) and Path(options).expanduser().is_dir():
        return name, name
    for place, sign in enumerate(name):
        if sign == "+" and is_known(name[place + 1 :].partition(":")[0].partition("+")[0]):
            return name[:place], name[place + 1 :]
        if sign == "+" and is_class_path(name[place + 1 :]):
            return name[:place], name[place + 1 :]
    if "+" in name and ":" not in name:
        kind_and_options(name.partition("+")[2])
    return name, name


def has_shared_space(name: str) -> bool:
    """Tell whether an encoder puts pictures and texts into one space before anything is learned.

    Example:
        >>> [has_shared_space(name) for name in ("clip:models/b32", "offline", "clip+bow")]
        [True, False, False]
    """
    image_name, text_name = split_pair(name)
    return image_name == text_name and name.partition(":")[0] in SHARED_SPACES


def is_known(kind: str) -> bool:
    """Tell whether an encoder of that name is the library's own or registered."""
    return kind in ENCODERS or kind in REGISTRY


def kind_and_options(name: str) -> tuple[str, str]:
    """Divide an encoder's name into what it is and its options, which stand behind a colon.

    Raises:
        UnknownNameError: if there is no encoder of that name.

    Example:
        >>> kind_and_options("clip:models/b32")
        ('clip', 'models/b32')
        >>> kind_and_options("acme.towers:Wave:small")
        ('acme.towers:Wave', 'small')
    """
    kind, _, options = name.partition(":")
    if is_known(kind):
        return kind, options
    path, _, options = options.partition(":")
    if is_class_path(f"{kind}:{path}"):
        return f"{kind}:{path}", options
    raise UnknownNameError("encoder", kind, [*ENCODERS, *REGISTRY.names()])


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
    """Load the image tower of `offline`."""
    require_no_options("offline", request)
    import_optional("torch", extra="offline", feature="the offline encoder")
    from modalhash.encoders.offline_image import OfflineImageTower

    return OfflineImageTower(request.device)


def offline_text(request: TowerRequest) -> TextTower:
    """Load the text tower of `offline`."""
    require_no_options("offline", request)
    import_optional("torch", extra="offline", feature="the offline encoder")
    from modalhash.encoders.offline_text import OfflineTextTower

    return OfflineTextTower(request.device)


def offline_shared_image(request: TowerRequest) -> ImageTower:
    """Load the image tower of `offline-shared`."""
    require_no_options("offline-shared", request)
    import_optional("torch", extra="offline", feature="the offline-shared encoder")
    from modalhash.encoders.offline_shared import OfflineSharedImageTower

    return OfflineSharedImageTower(request.device)


def offline_shared_text(request: TowerRequest) -> TextTower:
    """Load the text tower of `offline-shared`."""
    require_no_options("offline-shared", request)
    import_optional("torch", extra="offline", feature="the offline-shared encoder")
    from modalhash.encoders.offline_shared import OfflineSharedTextTower

    return OfflineSharedTextTower(request.device)


def clip_image(request: TowerRequest) -> ImageTower:
    """Load the image tower of `clip`."""
    import_optional("torch", extra="clip", feature="the clip encoder")
    from modalhash.encoders.clip import DEFAULT_MODEL, ClipImageTower, load_clip

    source = request.options or DEFAULT_MODEL
    request.models[source] = load_clip(source)
    return ClipImageTower(source, request.device, request.models[source])


def clip_text(request: TowerRequest) -> TextTower:
    """Load the text tower of `clip`, of the same loaded model as the image tower if it can be."""
    import_optional("torch", extra="clip", feature="the clip encoder")
    from modalhash.encoders.clip import DEFAULT_MODEL, ClipTextTower

    source = request.options or DEFAULT_MODEL
    return ClipTextTower(source, request.device, request.models.get(source))


def vit_image(request: TowerRequest) -> ImageTower:
    """Load the tower of `vit`."""
    import_optional("torch", extra="clip", feature="the vit encoder")
    from modalhash.encoders.vit import DEFAULT_MODEL, VitImageTower

    return VitImageTower(request.options or DEFAULT_MODEL, request.device)


def bert_text(request: TowerRequest) -> TextTower:
    """Load the tower of `bert`."""
    import_optional("torch", extra="clip", feature="the bert encoder")
    from modalhash.encoders.bert import DEFAULT_MODEL, BertTextTower

    return BertTextTower(request.options or DEFAULT_MODEL, request.device)


def bow_text(request: TowerRequest) -> TextTower:
    """Load the tower of `bow`, fitted if there is a state."""
    settings = BowSettings.from_options(request.options)
    if not request.state:
        return BagOfWordsTower(settings)
    return BagOfWordsTower.from_state(settings, request.state)


def precomputed_image(request: TowerRequest) -> ImageTower:
    """Make the image tower of `precomputed`."""
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
    """Make the text tower of `precomputed`."""
    require_no_options("precomputed", request)
    return PrecomputedTextTower(width_of_state(request.state))


IMAGE_TOWERS: Mapping[str, Callable[[TowerRequest], ImageTower]] = {
    "clip": clip_image,
    "offline": offline_image,
    "offline-shared": offline_shared_image,
    "precomputed": precomputed_image,
    "vit": vit_image,
}
TEXT_TOWERS: Mapping[str, Callable[[TowerRequest], TextTower]] = {
    "bert": bert_text,
    "bow": bow_text,
    "clip": clip_text,
    "offline": offline_text,
    "offline-shared": offline_shared_text,
    "precomputed": precomputed_text,
}
