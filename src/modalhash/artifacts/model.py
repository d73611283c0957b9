"""A trained model: hasher, encoder and where it came from; it encodes pictures and texts."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modalhash.artifacts.hash_functions import HashFunctions, TowerFunction
from modalhash.artifacts.hub_models import find_model_folder, hub_card
from modalhash.artifacts.model_reading import read_model
from modalhash.artifacts.model_record import CARD, RECORD, ModelRecord, compute_sha256
from modalhash.artifacts.model_writing import write_model
from modalhash.artifacts.onnx_files import (
    ONNX_FOLDER,
    copy_onnx_model,
    find_onnx,
    open_onnx_encoder,
)
from modalhash.artifacts.onnx_hasher import OnnxHasher
from modalhash.artifacts.shorter_codes import check_shorter, short_tower
from modalhash.codes import (
    BitOrder,
    Codes,
    GradedBits,
    binarise,
    code_width,
    from_little,
    pack,
)
from modalhash.codes.fingerprints import compatible_fingerprints, prefix_fingerprint
from modalhash.data import Modality
from modalhash.data.pictures import read_picture, upright_rgb
from modalhash.encoders import Encoder, TowerOutput, load_encoder
from modalhash.errors import ArtifactError, CollectionError, InputError
from modalhash.files import own_path, report_damage
from modalhash.hub import read_hub_name, upload_files
from modalhash.index.rerank import FineBooks, FineCodes
from modalhash.metrics import Report
from modalhash.notebook_html import join_parts, make_fact_table
from modalhash.picture_arrays import PictureInput, picture_from_array
from modalhash.search_request import refuse_address

if TYPE_CHECKING:
    from modalhash.methods.hasher import Hasher

__all__ = ["HashModel"]


class HashModel:
    """Encodes texts, pictures and features to packed codes, one modality at a time.

    Torch computes its hash functions and its encoder, or ONNX Runtime, where they are in ONNX
    files; the codes are the same.

    Args:
        hasher: the hash functions.
        record: what the model says of itself.
        device: where its encoder computes.
        folder: where it lies, if it was loaded or saved; a tuned encoder is loaded from there.
        encoder: the encoder, if it is loaded already.
    """

    def __init__(
        self,
        hasher: HashFunctions,
        record: ModelRecord,
        *,
        device: str = "auto",
        folder: Path | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        self.hasher, self.record, self.device = hasher, record, device
        self.folder, self._loaded = folder, encoder

    def __repr__(self) -> str:
        encoder = self.record.encoder["name"]
        return f"<HashModel {self.record.title}, {self.n_bits} bits, encoder {encoder!r}>"

    def _repr_html_(self) -> str:
        """Write what notebooks show: what the model is, and what it learned from."""
        record = self.record
        trained_on = record.trained_on
        split = f", split {trained_on['split']}" if trained_on.get("split") else ""
        facts = {
            "method": f"{record.title} ({record.method})",
            "preset": record.preset,
            "code": f"{self.n_bits} bits",
            "encoder": record.encoder["name"],
            "trained on": f"{trained_on.get('collection', '')}{split}",
            "seed": str(record.seed),
            "fingerprint": self.fingerprint[:12],
        }
        return join_parts(f"Model: {record.title}, {self.n_bits} bits", make_fact_table(facts))

    @classmethod
    def from_folder(cls, folder: Path, *, device: str = "auto") -> "HashModel":
        """Load the model in a folder; see `modalhash.load_model`."""
        record, hasher = read_model(folder)
        return cls(hasher, record, device=device, folder=folder)

    @classmethod
    def from_pretrained(
        cls,
        name: Path | str,
        *,
        revision: str | None = None,
        device: str = "auto",
        token: str | None = None,
    ) -> "HashModel":
        """Load a model by its name on a hub, or from a folder.

        Args:
            name: `OWNER/NAME` or `hf://OWNER/NAME`, or a folder, which comes first.
            revision: a branch, a tag or a commit; by default the newest.
            device: where its encoder will compute.
            token: of the user of the hub; by default the one that the hub's client keeps.

        Raises:
            ArtifactError: if what was fetched is damaged, or of a newer version.
            InputError: if it is no name of a repository.
            MissingExtraError: if the hub's client isn't installed.
            ModelUnavailableError: if it can't be had.
        """
        if Path(name).is_dir():
            return cls.from_folder(Path(name), device=device)
        hub_name = replace(read_hub_name(name), revision=revision or read_hub_name(name).revision)
        return cls.from_folder(find_model_folder(str(hub_name), token=token), device=device)

    def push_to_hub(
        self,
        repository: str,
        *,
        license: str,  # noqa: A002 - the hub's word
        report: Report | None = None,
        private: bool = False,
        token: str | None = None,
    ) -> str:
        """Send the model to a hub, with its card; the repository is made if it isn't there.

        Weights of a tuned encoder go along, and ONNX files that lie beside the model. Other
        encoders are named only.

        Args:
            repository: `OWNER/NAME`.
            license: of the weights, as hubs write it ("apache-2.0", "cc-by-4.0", "other"); nobody
                can choose it for you.
            report: what `evaluate` returned for this model; its numbers go onto the card, each
                with formula, ties and scoring.
            private: whether a new repository is private.
            token: of the user; by default the one that the hub's client keeps.

        Returns:
            The address of the commit.

        Raises:
            InputError: if it is no name of a repository, or the licence is no identifier.
            MissingExtraError: if the hub's client isn't installed.
            ModelUnavailableError: if the hub refuses, or can't be reached.
        """
        name = read_hub_name(repository)
        with TemporaryDirectory(prefix="modalhash-push-") as place:
            folder = Path(place)
            message = self.write_hub_files(folder, repository, license=license, report=report)
            return upload_files(folder, name, message=message, private=private, token=token)

    def write_hub_files(
        self,
        folder: Path,
        repository: str,
        *,
        license: str,  # noqa: A002 - the hub's word
        report: Report | None = None,
    ) -> str:
        """Write the files that `push_to_hub` sends, its card among them.

        Args:
            folder: an empty one.
            repository: `OWNER/NAME`.
            license: of the weights.
            report: whose numbers go onto the card.

        Returns:
            The message of the commit.

        Raises:
            InputError: if it is no name of a repository, or the licence is no identifier.
        """
        name = read_hub_name(repository)
        record = self.write_files(folder)
        card = (folder / CARD).read_text(encoding="utf-8")
        card = hub_card(
            card, asdict(record), repository=name.repository, licence=license, report=report
        )
        (folder / CARD).unlink()  # it may be a link to the model's own
        (folder / CARD).write_text(card, encoding="utf-8")
        beside = find_onnx(self.folder) if self.folder is not None else None
        if beside is not None and not self.is_in_onnx:
            copy_onnx_model(beside, folder / ONNX_FOLDER)
        return f"{record.title}, {record.n_bits} bits, by modalhash {record.modalhash}"

    def write_files(self, folder: Path) -> ModelRecord:
        """Write the model's files to a folder, and return the record that was written.

        Raises:
            StorageError: if the file system refuses.
        """
        if self.is_in_onnx:
            place = None if self.folder is None else find_onnx(self.folder)
            assert place is not None, "a model in ONNX files knows its folder"
            copy_onnx_model(place, folder)
            return self.record
        if self.tuned_folders:
            from modalhash.encoders.tuning import save_tuned

            save_tuned(self.encoder, self.tuned_folders, folder)
        return write_model(folder, self.record, self.hasher)

    @property
    def n_bits(self) -> int:
        """Bits of a code."""
        return self.record.n_bits

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights, which tells models apart.

        Codes of two models compare only if these are equal, or if one of the models was trained to
        be compatible with the other (`searches_codes_of`).

        That of a shortened model follows from the first model's and the number of bits, so that
        codes which are cut have it too.
        """
        if self.record.shortened_from:
            return prefix_fingerprint(self.record.shortened_from["fingerprint"], self.n_bits)
        if self.record.weights_sha256:
            return self.record.weights_sha256
        from modalhash.artifacts.model_weights import serialise_weights

        return compute_sha256(serialise_weights(self.hasher_in_torch))

    @property
    def compatible_fingerprints(self) -> tuple[str, ...]:
        """Fingerprints of the former models that the model was trained to be compatible with."""
        return compatible_fingerprints(self.record.compatible_with, self.n_bits)

    def searches_codes_of(self, fingerprint: str) -> bool:
        """Tell whether the model's queries search the codes that a model made.

        Args:
            fingerprint: of the model that made the codes: this one, or a former one that this one
                was trained to be compatible with.
        """
        return fingerprint in (self.fingerprint, *self.compatible_fingerprints)

    @property
    def is_in_onnx(self) -> bool:
        """Whether ONNX Runtime computes the model."""
        return isinstance(self.hasher, OnnxHasher)

    @property
    def hasher_in_torch(self) -> "Hasher":
        """The hash functions as torch computes them.

        Raises:
            ArtifactError: if the model is in ONNX files.
        """
        from modalhash.methods.hasher import Hasher

        if not isinstance(self.hasher, Hasher):
            raise ArtifactError(
                f"{self.folder} is a model in ONNX files, which can encode and search but not be "
                "changed or exported: take the run folder it was exported from"
            )
        return self.hasher

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
        place = find_onnx(root) if self.is_in_onnx else None
        with report_damage(root / RECORD, "take it from a backup, or train again"):
            encoder = (
                open_onnx_encoder(place, self.record)
                if place
                else load_encoder(
                    stated["name"],
                    image_state=stated["image_state"],
                    text_state=stated["text_state"],
                    image_folder=folders.get("image"),
                    text_folder=folders.get("text"),
                    device=self.device,
                    from_file=True,
                )
            )
        identity = dict(encoder.identity())
        if identity != stated["identity"]:  # a model of before JPEG files were decoded smaller?
            encoder.image.decode_in_full()
        if dict(encoder.identity()) != stated["identity"]:
            raise ArtifactError(
                f"the encoder {stated['name']!r} isn't the one this model was trained with: "
                f"now {identity}, then {stated['identity']}; install the same "
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

    def encode_texts(
        self, texts: Sequence[str], *, bit_order: BitOrder | str = BitOrder.LITTLE
    ) -> Codes:
        """Encode texts.

        Args:
            texts: none empty; may be an empty list.
            bit_order: "little", which our indexes and measures take, or "big", as
                sentence-transformers packs bits.

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
        return from_little(self.encode_outputs(map(self.text_output, texts), "text"), bit_order)

    def text_output(self, text: str) -> TowerOutput:
        """Compute the output of the model's encoder for one text."""
        with_tokens = self.hasher.text.reads_tokens
        return self.encoder.text.encode([text], with_tokens=with_tokens)

    def text_outputs(self, texts: Sequence[str]) -> list[TowerOutput]:
        """Compute the outputs of the model's encoder for texts together, one a text.

        Quicker than one by one; a text's features can differ in the last bits of a float from
        those it has alone, and so, rarely, its code in a bit.

        Args:
            texts: at least one; none may be empty.
        """
        with_tokens = self.hasher.text.reads_tokens
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

    def encode_images(
        self, images: "Sequence[PictureInput]", *, bit_order: BitOrder | str = BitOrder.LITTLE
    ) -> Codes:
        """Encode pictures.

        Args:
            images: files, their bytes, opened pictures, or pixels as uint8 arrays of shape
                (height, width, 3), read as those of collections are (upright, transparency on
                white); may be an empty list.
            bit_order: "little" (ours) or "big".

        Returns:
            (n, p) uint8. A picture's code doesn't depend on the other pictures.

        Raises:
            InputError: if a file is missing or no picture, or `images` is a single picture.
            FeatureError: if the model was trained on arrays (encoder `precomputed`).
        """
        require_list("images", images)
        codes = self.encode_outputs(map(self.image_output, images), "image")
        return from_little(codes, bit_order)

    def image_output(self, image: "PictureInput") -> TowerOutput:
        """Compute the output of the model's encoder for one picture.

        Raises:
            InputError: if it can't be read; the message names the file.
        """
        tower, with_tokens = self.encoder.image, self.hasher.image.reads_tokens
        return tower.encode(
            [tower.prepare(open_picture(image, tower.picture_side))], with_tokens=with_tokens
        )

    def encode_outputs(self, outputs: Iterable[TowerOutput], modality: Modality) -> Codes:
        """Encode what the model's encoder gave, output by output, (n, p) uint8."""
        codes = [
            self.encode_features(
                output.pooled, modality, tokens=output.tokens, token_mask=output.token_mask
            )
            for output in outputs
        ]
        return np.concatenate([np.zeros((0, code_width(self.n_bits)), np.uint8), *codes])

    def encode_features(
        self,
        features: NDArray[np.floating[Any]],
        modality: Modality,
        *,
        tokens: NDArray[np.floating[Any]] | None = None,
        token_mask: NDArray[np.bool_] | None = None,
        bit_order: BitOrder | str = BitOrder.LITTLE,
    ) -> Codes:
        """Encode features that the model's encoder made.

        Args:
            features: (n, d) pooled features, finite.
            modality: whose they are.
            tokens: (n, t, w) content tokens, if the model reads them.
            token_mask: (n, t) bool with them, True where a token is real.
            bit_order: "little" (ours) or "big".

        Returns:
            (n, p) uint8.

        Raises:
            FeatureError: if the width isn't the model's, a value isn't finite or too large for
                the dtype that features were stored in, or tokens are read and not given.
            InputError: if there is no such modality.
        """
        relaxed = self.relaxed_features(features, modality, tokens=tokens, token_mask=token_mask)
        return pack(binarise(relaxed), bit_order=bit_order)

    def relaxed_features(
        self,
        features: NDArray[np.floating[Any]],
        modality: Modality,
        *,
        tokens: NDArray[np.floating[Any]] | None = None,
        token_mask: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """Compute the relaxed codes of features, (n, b) float32; see `encode_features`."""
        return self.tower(modality).relaxed(
            self.round_features(features, modality),
            None if tokens is None else self.round_features(tokens, modality),
            token_mask,
        )

    @cached_property
    def graded_bits(self) -> GradedBits | None:
        """What the bits of pictures stand for, where a number has several; None elsewhere.

        Hamming distance counts such bits alike, so stored items ask with numbers too.
        """
        return GradedBits.of_head(self.record.towers["image"]["head"])

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
            modality,
            self.round_features(features, modality),
            self.round_features(tokens, modality),
            token_mask,
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
            modality,
            self.round_features(features, modality),
            self.round_features(tokens, modality),
            token_mask,
        )

    def without_fine(self) -> "HashModel":
        """Copy the model without its finer codes: smaller, with the same hash codes."""
        if self.hasher.fine is None:
            return self
        from modalhash.methods.hasher import Hasher

        whole = self.hasher_in_torch
        hasher = Hasher(whole.image, whole.text)
        record = replace(self.record, towers=hasher.spec(), weights_sha256="")
        return HashModel(
            hasher, record, device=self.device, folder=self.folder, encoder=self._loaded
        )

    @property
    def code_lengths(self) -> list[int]:
        """Numbers of first bits that are codes of their own; the last is `n_bits`."""
        towers = self.record.towers
        if any(towers[side]["head"].get("kind") != "kernel" for side in ("image", "text")):
            return [self.n_bits]
        from modalhash.methods.code_lengths import code_lengths

        return code_lengths(self.n_bits, self.record.settings.get("shortest", 0))

    @property
    def origin(self) -> dict[str, Any]:
        """What `shortened_from` says in a model or in codes that are shortened from these."""
        whole = {"n_bits": self.n_bits, "fingerprint": self.fingerprint}
        return dict(self.record.shortened_from) or whole

    def shortened(self, n_bits: int) -> "HashModel":
        """Shorten the model to the first bits of its codes.

        Args:
            n_bits: one of `code_lengths`, but not the last.

        Raises:
            InputError: if no code of that length was trained, naming those that were.
        """
        from modalhash.methods.hasher import Hasher

        check_shorter(n_bits, self.code_lengths, f"{self.record.title}, {self.n_bits} bits")
        image, text = self.hasher_in_torch.image, self.hasher_in_torch.text
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

    def tower(self, modality: Modality) -> TowerFunction:
        """Find the tower of one modality.

        Raises:
            InputError: if there is no such modality.
        """
        if modality not in ("image", "text"):
            raise InputError(f"modality is {modality!r}, expected image or text")
        return self.hasher.image if modality == "image" else self.hasher.text

    def round_features(
        self, features: NDArray[np.floating[Any]], modality: Modality
    ) -> NDArray[np.float32]:
        """Round features as stored ones are rounded, so that both give the same codes."""
        with np.errstate(over="ignore"):  # the tower refuses infinity
            stored = np.asarray(features).astype(self.record.feature_dtype[modality])
        return stored.astype(np.float32)


def inner_folder(root: Path, name: object) -> Path:
    """Resolve a folder inside another, whose path `a/b` comes out of a file.

    Raises:
        DamagedArtifactError: if it isn't inside, or a link is on the way.
    """
    folder = root
    for part in str(name).split("/"):
        folder = own_path(folder, part)
    return folder


def require_list(name: str, values: object) -> None:
    """Refuse a single text, path or picture where a list of them is expected.

    Raises:
        InputError: naming the argument.
    """
    if isinstance(values, str | bytes | Path | Image.Image):
        raise InputError(f"{name} is a single {type(values).__name__}: give a list, [{name}]")


def open_picture(image: "PictureInput", side: int | None = None) -> Image.Image:
    """Open a picture from a file, its bytes, an opened picture or pixels as RGB.

    Args:
        image: an opened picture and pixels are taken as they are.
        side: pixels that the shorter side of a file's picture is needed with; see `read_picture`.

    Raises:
        InputError: if it can't be read; the message names the file.
    """
    if isinstance(image, np.ndarray):
        image = picture_from_array(image)
    if isinstance(image, Image.Image):
        return upright_rgb(image)
    if not isinstance(image, str | PathLike | bytes):
        raise InputError(
            f"the picture is of type {type(image).__name__}, expected a file, its bytes, an opened "
            "picture, or a uint8 array of shape (height, width, 3)"
        )
    try:
        if isinstance(image, bytes):
            return read_picture(Path("the picture"), content=io.BytesIO(image), side=side)
        refuse_address(image)
        return read_picture(Path(image), side=side)
    except CollectionError as error:
        raise InputError(str(error.defects[0])) from error
