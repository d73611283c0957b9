"""The verbs that keep the first bits of codes, where a method made these codes of their own."""

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from modalhash.api.indexing import CodeFolder
from modalhash.api.opening import open_model
from modalhash.artifacts import HashModel, RunFolder, load_model, save_model
from modalhash.artifacts.shorter_codes import check_shorter
from modalhash.codes import Codes, check_codes, first_bits
from modalhash.codes.fingerprints import prefix_fingerprint
from modalhash.codes.manifest import CODES_MANIFEST, read_codes_manifest
from modalhash.errors import DamagedArtifactError, InputError, ShapeError
from modalhash.files import map_array, write_array, write_json
from modalhash.index.code_files import is_code_folder
from modalhash.index.new_folders import new_folder
from modalhash.numpy_numbers import takes_numpy_numbers

__all__ = ["holds_codes", "shorten", "shorten_codes"]


@takes_numpy_numbers
def shorten(
    model: HashModel | Path | str, output: Path | str, *, n_bits: int, device: str = "auto"
) -> HashModel:
    """Save the model whose codes are the first bits of another's.

    It is a model like any other; the splits of the run go along. Its codes compare with codes of
    its own length, be they made by it or cut by `shorten_codes`.

    Args:
        model: or its run folder; of a method that makes first bits codes of their own (nested).
        output: a new folder.
        n_bits: one of the lengths that were trained, `model.code_lengths`.
        device: where its encoder will compute.

    Returns:
        The model, loaded.

    Raises:
        InputError: if no code of that length was trained, naming those that were; if `output` is
            taken.
        StorageError: if the file system refuses; nothing is left behind.
    """
    model = open_model(model, device)
    short, folder = model.shortened(n_bits), check_output_folder(output)
    with new_folder(folder) as part:
        save_model(short, part)
        if model.folder is not None and RunFolder(model.folder, {}).splits.is_dir():
            shutil.copytree(RunFolder(model.folder, {}).splits, RunFolder(part, {}).splits)
    return load_model(folder, device=device)


@takes_numpy_numbers
def shorten_codes(codes: Path | str, output: Path | str, *, n_bits: int) -> CodeFolder:
    """Cut the codes that `encode` wrote to their first bits; nothing is encoded again.

    The codes are those that the shortened model makes.

    Args:
        codes: the folder that `encode` wrote.
        output: a new folder.
        n_bits: one of the lengths that the codes' model was trained for.

    Raises:
        ArtifactError: if the folder is damaged or newer.
        InputError: if no code of that length was trained, naming those that were; if `output` is
            taken; if the codes are of shards, or were written before lengths were.
        StorageError: if the file system refuses; nothing is left behind.
    """
    source, folder = Path(codes), check_output_folder(output)
    if is_code_folder(source):
        raise InputError(
            f"{source} holds codes of shards, which aren't cut: shorten the model, and encode the "
            "shards with it"
        )
    manifest = read_codes_manifest(source)
    if "code_lengths" not in manifest:
        raise InputError(
            f"{source / CODES_MANIFEST} doesn't say which first bits are codes of their own: "
            "encode the collection again"
        )
    check_shorter(n_bits, manifest["code_lengths"], f"codes in {source}, {manifest['n_bits']} bits")
    sides = {
        name: read_side(source / f"{name}.npy", manifest["n_bits"])
        for name in ("image_codes", "text_codes")
    }
    document: dict[str, Any] = manifest | {
        "modalhash": version("modalhash"),
        "n_bits": n_bits,
        "model_fingerprint": prefix_fingerprint(manifest["origin"]["fingerprint"], n_bits),
        "code_lengths": [length for length in manifest["code_lengths"] if length <= n_bits],
    }
    with new_folder(folder) as part:
        for name, side in sides.items():
            write_array(part / f"{name}.npy", first_bits(side, n_bits))
        if (source / "labels.npy").is_file():
            shutil.copyfile(source / "labels.npy", part / "labels.npy")
        write_json(part / CODES_MANIFEST, document)
    return CodeFolder(folder, n_bits, len(sides["image_codes"]), len(sides["text_codes"]))


def holds_codes(folder: Path | str) -> bool:
    """Tell whether a folder is one that `encode` or `encode_shards` wrote."""
    return (Path(folder) / CODES_MANIFEST).is_file() or is_code_folder(folder)


def check_output_folder(output: Path | str) -> Path:
    """Check that a new folder can be made at a place.

    Raises:
        InputError: if something is there already; an empty folder is nothing.
    """
    folder = Path(output)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} exists already: choose another folder")
    return folder


def read_side(path: Path, n_bits: int) -> Codes:
    """Map the codes of one side.

    Raises:
        DamagedArtifactError: if they aren't what was written.
    """
    try:
        codes: Codes = map_array(path)
        check_codes(codes, n_bits)
    except (OSError, ValueError, EOFError, ShapeError) as error:
        raise DamagedArtifactError(f"{path} is damaged: {error}; encode again") from error
    return codes
