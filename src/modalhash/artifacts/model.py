"""A trained model: hasher, encoder and where it came from; safetensors and JSON, no pickle."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from modalhash.artifacts.card import model_card
from modalhash.codes import Codes, binarise, code_width, pack
from modalhash.data import Modality
from modalhash.data.pictures import read_picture, upright_rgb
from modalhash.encoders import Encoder, TowerOutput, load_encoder
from modalhash.errors import ArtifactError, CollectionError, DamagedArtifactError, InputError
from modalhash.files import own_path, read_json, sealed, write_bytes, write_json, write_text
from modalhash.index.rerank import FineBooks, FineCodes
from modalhash.layers import HashHead, KernelHead, build_head
from modalhash.methods import REGISTRY as METHOD_REGISTRY
from modalhash.methods.hasher import Hasher, HashTower
from modalhash.search_request import refuse_address

__all__ = [
    "HashModel",
    "ModelRecord",
    "check_shorter",
    "load_model",
    "prefix_fingerprint",
    "save_model",
]

FORMAT = 1
OPTIONAL = frozenset({"method_package", "shortened_from"})
"""Entries of the record that are left out where they are empty."""
WEIGHTS, RECORD, CARD = "model.safetensors", "model.json", "README.md"


@dataclass(frozen=True)
class ModelRecord:
    """What a model says of itself; the content of `model.json`.

    Attributes:
        method: name in the table of methods.
        title: as people write it.
        n_bits: bits of a code.
        settings: the method's full settings.
        training: the full training settings.
        preset: the preset they came from, or "".
        seed: of the run.
        encoder: `name`, towers' `identity`, their fitted `image_state` and `text_state`; where it
            was tuned, also `tuned`, modality to the folder of its weights in the model's folder,
            and `untuned_identity`, what it was before.
        feature_dtype: modality to the dtype that its features are rounded to, when training and
            when encoding alike.
        trained_on: collection, source, fingerprint, split and counts.
        towers: description that the hasher is rebuilt from.
        results: what training found: best epoch, last losses.
        modalhash: version that wrote it.
        weights_sha256: of the weights file; also the fingerprint of a model that was trained.
        shortened_from: where the codes are the first bits of another model's, that model's `n_bits`
            and `fingerprint`; else empty, and left out of the file.
        method_package: package and version that registered the method, where it isn't one of this
            library; else "", and left out of the file.
    """

    method: str
    title: str
    n_bits: int
    settings: Mapping[str, Any]
    training: Mapping[str, Any]
    seed: int
    encoder: Mapping[str, Any]
    feature_dtype: Mapping[str, str]
    trained_on: Mapping[str, Any]
    towers: Mapping[str, Any]
    preset: str = ""
    results: Mapping[str, Any] = field(default_factory=dict)
    modalhash: str = field(default_factory=lambda: version("modalhash"))
    weights_sha256: str = ""
    shortened_from: Mapping[str, Any] = field(default_factory=dict)
    method_package: str = ""


class HashModel:
    """Encodes texts, pictures and features to packed codes, one modality at a time.

    Args:
        hasher: the towers.
        record: what the model says of itself.
        device: where its encoder computes.
        folder: where it lies, if it was loaded or saved; a tuned encoder is loaded from there.
        encoder: the encoder, if it is loaded already.
    """

    def __init__(
        self,
        hasher: Hasher,
        record: ModelRecord,
        *,
        device: str = "auto",
        folder: Path | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        self.hasher, self.record, self.device = hasher, record, device
        self.folder, self._loaded = folder, encoder

    @property
    def n_bits(self) -> int:
        """Bits of a code."""
        return self.record.n_bits

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights: codes of two models compare only if these are equal.

        That of a shortened model follows from the first model's and the number of bits, so that
        codes which are cut have it too.
        """
        if self.record.shortened_from:
            return prefix_fingerprint(self.record.shortened_from["fingerprint"], self.n_bits)
        return self.record.weights_sha256 or sha256_of(weights_of(self.hasher))

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder the model was trained with, tuned or not, loaded when first used.

        Raises:
            ArtifactError: if its weights aren't the ones the model was trained with.
            ModelUnavailableError: if its weights can't be had.
        """
        if self._loaded is not None:
            return self._loaded
        stated = self.record.encoder
        root = (self.folder or Path()).absolute()  # "run/encoder" could be a name on the hub
        folders = {side: inner_folder(root, name) for side, name in self.tuned_folders.items()}
        encoder = load_encoder(
            stated["name"],
            image_state=stated["image_state"],
            text_state=stated["text_state"],
            image_folder=folders.get("image"),
            text_folder=folders.get("text"),
            device=self.device,
            from_file=True,
        )
        if dict(encoder.identity()) != stated["identity"]:
            raise ArtifactError(
                f"the encoder {stated['name']!r} isn't the one this model was trained with: "
                f"now {dict(encoder.identity())}, then {stated['identity']}; install the same "
                "version, or train again"
            )
        return encoder

    @property
    def loaded_encoder(self) -> Encoder | None:
        """The encoder, if it is loaded already."""
        return self.__dict__.get("encoder", self._loaded)

    @property
    def tuned_folders(self) -> Mapping[Modality, str]:
        """Modality to where its tuned weights lie in the model's folder; empty without tuning."""
        folders: Mapping[Modality, str] = self.record.encoder.get("tuned", {})
        return folders

    def encode_texts(self, texts: Sequence[str]) -> Codes:
        """Encode texts.

        Args:
            texts: none empty; may be an empty list.

        Returns:
            (n, p) uint8. A text's code doesn't depend on the other texts.

        Raises:
            InputError: if a text is empty, or `texts` is a single text.
            FeatureError: if the model was trained on arrays (encoder `precomputed`).
        """
        require_list("texts", texts)
        for place, text in enumerate(texts):
            if not text.strip():
                raise InputError(f"texts[{place}] is empty: give at least one word")
        # One at a time: batch mates must not reach a feature, not even by rounding.
        return self.encode_outputs(map(self.text_output, texts), "text")

    def text_output(self, text: str) -> TowerOutput:
        """Return what the model's encoder makes of one text."""
        with_tokens = self.hasher.text.head.reads_tokens
        return self.encoder.text.encode([text], with_tokens=with_tokens)

    def text_outputs(self, texts: Sequence[str]) -> list[TowerOutput]:
        """Return what the model's encoder makes of texts computed together, an output a text.

        Quicker than one by one; a text's features can differ in the last bits of a float from
        those it has alone, and so, rarely, its code in a bit.

        Args:
            texts: at least one; none may be empty.
        """
        with_tokens = self.hasher.text.head.reads_tokens
        together = self.encoder.text.encode(texts, with_tokens=with_tokens)
        outputs = []
        for row in range(len(texts)):
            pooled, tokens, mask = together.pooled[row : row + 1], None, None
            if together.tokens is not None and together.token_mask is not None:
                length = max(1, int(together.token_mask[row].sum()))
                tokens = together.tokens[row : row + 1, :length]
                mask = together.token_mask[row : row + 1, :length]
            outputs.append(TowerOutput(pooled, tokens, mask))
        return outputs

    def encode_images(self, images: Sequence[Path | str | Image.Image]) -> Codes:
        """Encode pictures.

        Args:
            images: files or opened pictures, read as those of collections are (upright,
                transparency on white); may be an empty list.

        Returns:
            (n, p) uint8. A picture's code doesn't depend on the other pictures.

        Raises:
            InputError: if a file is missing or no picture, or `images` is a single picture.
            FeatureError: if the model was trained on arrays (encoder `precomputed`).
        """
        require_list("images", images)
        return self.encode_outputs(map(self.image_output, images), "image")

    def image_output(self, image: Path | str | Image.Image) -> TowerOutput:
        """Return what the model's encoder makes of one picture.

        Raises:
            InputError: if it can't be read; the message names the file.
        """
        tower, with_tokens = self.encoder.image, self.hasher.image.head.reads_tokens
        return tower.encode([tower.prepare(open_picture(image))], with_tokens=with_tokens)

    def encode_outputs(self, outputs: Iterable[TowerOutput], modality: Modality) -> Codes:
        """Encode what the model's encoder gave, output by output, (n, p) uint8."""
        codes = [
            self.encode_features(one.pooled, modality, tokens=one.tokens, token_mask=one.token_mask)
            for one in outputs
        ]
        return np.concatenate([np.zeros((0, code_width(self.n_bits)), np.uint8), *codes])

    def encode_features(
        self,
        features: NDArray[np.floating[Any]],
        modality: Modality,
        *,
        tokens: NDArray[np.floating[Any]] | None = None,
        token_mask: NDArray[np.bool_] | None = None,
    ) -> Codes:
        """Encode features that the model's encoder made.

        Args:
            features: (n, d) pooled features, finite.
            modality: whose they are.
            tokens: (n, t, w) content tokens, if the model reads them.
            token_mask: (n, t) bool with them, True where a token is real.

        Returns:
            (n, p) uint8.

        Raises:
            FeatureError: if the width isn't the model's, a value isn't finite or too large for
                the dtype that features were stored in, or tokens are read and not given.
            InputError: if there is no such modality.
        """
        return pack(
            binarise(
                self.relaxed_features(features, modality, tokens=tokens, token_mask=token_mask)
            )
        )

    def relaxed_features(
        self,
        features: NDArray[np.floating[Any]],
        modality: Modality,
        *,
        tokens: NDArray[np.floating[Any]] | None = None,
        token_mask: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """Return the relaxed codes of features, (n, b) float32; see `encode_features`."""
        return self.tower(modality).relaxed(
            self.rounded(features, modality),
            None if tokens is None else self.rounded(tokens, modality),
            token_mask,
        )

    @property
    def has_fine_codes(self) -> bool:
        """Whether the model makes finer codes beside the hash codes, to rerank by."""
        return self.hasher.fine is not None

    @cached_property
    def fine_books(self) -> FineBooks:
        """What finer codes stand for and how much they count.

        Raises:
            FeatureError: if the model has none.
        """
        fine = self.hasher.fine_coder()
        return FineBooks(
            fine.codewords().cpu().numpy().astype(np.float32),
            code_weight=fine.code_weight,
            fine_weight=fine.fine_weight,
            n_parts=fine.n_parts,
        )

    def fine_codes(
        self,
        features: NDArray[np.floating[Any]],
        modality: Modality,
        *,
        tokens: NDArray[np.floating[Any]],
        token_mask: NDArray[np.bool_],
    ) -> FineCodes:
        """Compute the finer codes of features that the model's encoder made.

        Args:
            features: (n, d) pooled features, finite.
            modality: whose they are.
            tokens: (n, t, w) content tokens.
            token_mask: (n, t) bool, True where a token is real.

        Returns:
            (n, s) uint8. A row depends on that row's features alone.

        Raises:
            FeatureError: if the model has no finer codes.
            InputError: if there is no such modality.
        """
        self.tower(modality)
        return self.hasher.fine_codes(
            modality, self.rounded(features, modality), self.rounded(tokens, modality), token_mask
        )

    def fine_queries(
        self,
        features: NDArray[np.floating[Any]],
        modality: Modality,
        *,
        tokens: NDArray[np.floating[Any]],
        token_mask: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Compute what queries meet finer codes with, (n, s, w) float32; see `fine_codes`."""
        self.tower(modality)
        return self.hasher.fine_queries(
            modality, self.rounded(features, modality), self.rounded(tokens, modality), token_mask
        )

    def without_fine(self) -> "HashModel":
        """Return the model without its finer codes: smaller, with the same hash codes."""
        if self.hasher.fine is None:
            return self
        hasher = Hasher(self.hasher.image, self.hasher.text)
        record = replace(self.record, towers=hasher.spec(), weights_sha256="")
        return HashModel(
            hasher, record, device=self.device, folder=self.folder, encoder=self._loaded
        )

    @property
    def code_lengths(self) -> list[int]:
        """Numbers of first bits that are codes of their own; the last is `n_bits`."""
        heads = (self.hasher.image.head, self.hasher.text.head)
        if not all(isinstance(head, KernelHead) for head in heads):
            return [self.n_bits]
        from modalhash.methods.code_lengths import code_lengths

        return code_lengths(self.n_bits, self.record.settings.get("shortest", 0))

    @property
    def origin(self) -> dict[str, Any]:
        """What `shortened_from` says in a model or in codes that are shortened from these."""
        whole = {"n_bits": self.n_bits, "fingerprint": self.fingerprint}
        return dict(self.record.shortened_from) or whole

    def shortened(self, n_bits: int) -> "HashModel":
        """Return the model whose codes are the first bits of this one's.

        Args:
            n_bits: one of `code_lengths`, but not the last.

        Raises:
            InputError: if no code of that length was trained, naming those that were.
        """
        check_shorter(n_bits, self.code_lengths, f"{self.record.title}, {self.n_bits} bits")
        image, text = self.hasher.image, self.hasher.text
        hasher = Hasher(short_tower(image, n_bits), short_tower(text, n_bits))
        record = replace(
            self.record,
            n_bits=n_bits,
            towers=hasher.spec(),
            weights_sha256="",
            shortened_from=self.origin,
        )
        return HashModel(
            hasher, record, device=self.device, folder=self.folder, encoder=self._loaded
        )

    def tower(self, modality: Modality) -> HashTower:
        """Return the tower of one modality.

        Raises:
            InputError: if there is no such modality.
        """
        if modality not in ("image", "text"):
            raise InputError(f"modality is {modality!r}, expected image or text")
        return self.hasher.image if modality == "image" else self.hasher.text

    def rounded(
        self, features: NDArray[np.floating[Any]], modality: Modality
    ) -> NDArray[np.float32]:
        """Return features rounded as stored ones are, so that both give the same codes."""
        with np.errstate(over="ignore"):  # the tower refuses infinity
            stored = np.asarray(features).astype(self.record.feature_dtype[modality])
        return stored.astype(np.float32)


def inner_folder(root: Path, name: object) -> Path:
    """Return a folder inside another, whose path `a/b` comes out of a file.

    Raises:
        DamagedArtifactError: if it isn't inside, or a link is on the way.
    """
    folder = root
    for part in str(name).split("/"):
        folder = own_path(folder, part)
    return folder


def short_tower(tower: HashTower, n_bits: int) -> HashTower:
    """Return the tower of the first bits."""
    assert isinstance(tower.head, KernelHead)
    return HashTower(tower.scaling, tower.head.first_bits(n_bits), tower.reduction)


def check_shorter(n_bits: int, lengths: Sequence[int], whose: str) -> None:
    """Refuse a number of first bits that are no code of their own.

    Args:
        n_bits: what was asked for.
        lengths: those that were trained; the last is the whole code's.
        whose: what would be shortened, for the message.

    Raises:
        InputError: naming the lengths there are.
    """
    *shorter, _ = lengths
    if not shorter:
        raise InputError(
            f"{whose}: the first bits are no codes of their own, only all bits together are; train "
            f"a model of {n_bits} bits, or one of all lengths with --method nested"
        )
    if n_bits not in shorter:
        raise InputError(
            f"n_bits is {n_bits}, expected one of {', '.join(map(str, shorter))}, the shorter "
            f"lengths that were trained ({whose})"
        )


def prefix_fingerprint(fingerprint: str, n_bits: int) -> str:
    """Return the fingerprint of a model whose codes are the first bits of another's.

    Args:
        fingerprint: of the model that was trained.
        n_bits: how many bits are kept.
    """
    return sha256_of(f"{fingerprint}, first {n_bits} bits".encode())


def require_list(name: str, values: object) -> None:
    """Refuse a single text, path or picture where a list of them is expected.

    Raises:
        InputError: naming the argument.
    """
    if isinstance(values, str | Path | Image.Image):
        raise InputError(f"{name} is a single {type(values).__name__}: give a list, [{name}]")


def open_picture(image: Path | str | Image.Image) -> Image.Image:
    """Return an RGB picture from a file or an opened picture.

    Raises:
        InputError: if it can't be read; the message names the file.
    """
    if isinstance(image, Image.Image):
        return upright_rgb(image)
    refuse_address(image)
    try:
        return read_picture(Path(image))
    except CollectionError as error:
        raise InputError(str(error.defects[0])) from error


def weights_of(hasher: Hasher) -> bytes:
    """Return a hasher's tensors in the safetensors format; equal tensors give equal bytes."""
    # Clones, since towers may share tensors and the format has no shared ones.
    weights: bytes = save_tensors(
        {name: value.contiguous().clone() for name, value in hasher.state_dict().items()}
    )
    return weights


def sha256_of(content: bytes) -> str:
    """Return a SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def head_builder(record: ModelRecord) -> Callable[[Mapping[str, Any]], HashHead]:
    """Return what builds a model's heads: the known kinds, then those of the method's package.

    A method's package is needed for kinds of heads that this version doesn't know, and not else.
    """

    def build(spec: Mapping[str, Any]) -> HashHead:
        try:
            return build_head(spec)
        except ArtifactError:
            if not record.method_package:
                raise
            try:
                method = METHOD_REGISTRY.load(record.method, from_file=True)
            except InputError as unknown:
                raise ArtifactError(
                    f"the model's hash head is of the method {record.method!r} of the package "
                    f"{record.method_package}: install that package"
                ) from unknown
            head: HashHead = method.build_head(spec)
            return head

    return build


def save_model(model: HashModel, folder: Path) -> HashModel:
    """Save a model: weights first, then the card, then the record that makes them a model.

    A tuned encoder is saved with it.

    Args:
        model: what to save.
        folder: the run folder; made if missing.

    Returns:
        The model with its fingerprint filled in.

    Raises:
        StorageError: if the file system refuses.
    """
    if model.tuned_folders:
        from modalhash.encoders.tuning import save_tuned

        save_tuned(model.encoder, model.tuned_folders, folder)
    weights = weights_of(model.hasher)
    document = asdict(model.record) | {"weights_sha256": sha256_of(weights)}
    record = ModelRecord(**document)
    for name in OPTIONAL:
        if not document[name]:
            del document[name]
    write_bytes(folder / WEIGHTS, weights)
    write_text(folder / CARD, model_card(document))
    write_json(folder / RECORD, sealed({"format": FORMAT, **document}))
    return HashModel(
        model.hasher, record, device=model.device, folder=folder, encoder=model.loaded_encoder
    )


def load_model(folder: Path | str, *, device: str = "auto") -> HashModel:
    """Load a model that `save_model` wrote.

    Args:
        folder: the run folder, or any folder with the model's files.
        device: where its encoder will compute.

    Raises:
        DamagedArtifactError: if a file is missing or its content differs from what it should be.
        NewerFormatError: if a newer version wrote it.
        ArtifactError: if it holds a run that isn't finished.
    """
    folder = Path(folder)
    if not (folder / RECORD).exists() and (folder / "checkpoint").is_dir():
        raise ArtifactError(
            f"{folder} holds a run that isn't finished: go on with the `modalhash train` command "
            "it was started with, and --resume"
        )
    document = read_json(folder / RECORD, kind="model", newest_format=FORMAT)
    for name in ("format", "checksum"):
        document.pop(name, None)
    known = {one.name for one in fields(ModelRecord)}
    odd = (known ^ document.keys()) - OPTIONAL
    if odd:
        raise DamagedArtifactError(
            f"{folder / RECORD} is damaged: missing or unknown entries: {', '.join(sorted(odd))}"
        )
    record = ModelRecord(**document)
    try:
        weights = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise DamagedArtifactError(
            f"can't read {folder / WEIGHTS}: {error.strerror or error}; take it from a backup, or "
            "train again"
        ) from error
    if sha256_of(weights) != record.weights_sha256:
        raise DamagedArtifactError(
            f"{folder / WEIGHTS} is damaged: its checksum isn't the one in {RECORD}; "
            "take it from a backup, or train again"
        )
    hasher = Hasher.from_spec(record.towers, head_builder(record))
    try:
        hasher.load_state_dict(load_tensors(weights))
    except (SafetensorError, RuntimeError) as error:
        raise DamagedArtifactError(
            f"{folder / WEIGHTS} doesn't fit the towers in {RECORD}: {error}"
        ) from error
    return HashModel(hasher, record, device=device, folder=folder)
