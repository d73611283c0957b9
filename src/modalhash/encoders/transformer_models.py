"""Models of `transformers`: from a folder or the hub's cache, safetensors only, in one clear line.

A model comes from a local folder or by its hub name; then `transformers` looks into its cache
first, and `HF_HUB_OFFLINE=1` keeps it there.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from modalhash.encoders.local_models import is_local_only
from modalhash.errors import ModelUnavailableError, UnknownNameError
from modalhash.extras import import_optional

__all__ = [
    "LoadedModel",
    "from_source",
    "hash_of_weights",
    "load_model",
    "longest_input",
    "quiet",
    "transformers_package",
]

logger = logging.getLogger(__name__)

HUGE_LENGTH = 100_000
"""Tokenizers without a length limit state an enormous one."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model and what it was loaded from.

    Attributes:
        network: the whole model, in evaluation mode, float32.
        kind: its model type, as its configuration states it.
        source: the hub name or folder.
    """

    network: Any
    kind: str
    source: str


def transformers_package(kind: str) -> Any:
    """Import the package `transformers`.

    Raises:
        MissingExtraError: if it isn't installed.
    """
    return import_optional("transformers", extra="clip", feature=f"the {kind} encoder")


def load_model(
    source: str,
    *,
    kind: str,
    model_types: tuple[str, ...],
    options: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """Load a model from a folder or by its hub name.

    Args:
        source: hub name or folder.
        kind: the encoder's name, for messages.
        model_types: the types of models that it can be.
        options: for the model's constructor, by model type.

    Raises:
        MissingExtraError: if `transformers` isn't installed.
        ModelUnavailableError: if it can't be had.
        UnknownNameError: if it is a model of another family.
    """
    transformers = transformers_package(kind)
    config = from_source(transformers.AutoConfig, source, kind=kind)
    if config.model_type not in model_types:
        raise UnknownNameError(f"model type of {source}", config.model_type, model_types)
    own = (options or {}).get(config.model_type, {})
    network, report = from_source(
        transformers.AutoModel,
        source,
        kind=kind,
        use_safetensors=True,
        output_loading_info=True,
        **own,
    )
    missing = sorted(name for name in report["missing_keys"] if not name.endswith("position_ids"))
    if missing:
        raise ModelUnavailableError(
            f"the model {source} lacks {len(missing)} of its weights, the first is {missing[0]}: "
            "take a complete one"
        )
    return LoadedModel(network.float().eval(), config.model_type, source)


def from_source(loader: Any, source: str, *, kind: str, **options: Any) -> Any:
    """Call a loader's `from_pretrained` and put any failure into one clear line.

    A hub name is looked up in the local cache first: what is there loads at once, with or without
    a network, and doesn't change under the user's feet.

    Raises:
        ModelUnavailableError: naming the source and the way out.
    """
    folder = Path(source).expanduser()
    is_folder = folder.is_dir()
    if not is_folder and (source.startswith((".", "/", "~")) or source.count("/") != 1):
        raise ModelUnavailableError(f"there is no model folder {source}: check the path")
    try:
        with quiet():
            if is_folder:
                return loader.from_pretrained(str(folder), **options)
            with suppress(OSError, ValueError):
                return loader.from_pretrained(source, local_files_only=True, **options)
            if is_local_only.get():
                raise ModelUnavailableError(
                    f"the model {source}, which a file names, isn't on this machine, and nothing "
                    "is fetched because a file says so: run once with network access "
                    f"`modalhash features COLLECTION --encoder {kind}:{source}`"
                )
            logger.info("looking for %s on the model hub", source)
            return loader.from_pretrained(source, **options)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        way_out = (
            "it must hold config.json, model.safetensors, a tokenizer and preprocessor_config.json,"
            " as `save_pretrained` writes them"
            if is_folder
            else f"run once with network access, or give a local folder: {kind}:FOLDER"
        )
        raise ModelUnavailableError(
            f"the model {source} can't be loaded ({reason}): {way_out}"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep `transformers` from drawing bars and listing weights that aren't needed, for a while."""
    output = import_optional("transformers.utils.logging", extra="clip", feature="the clip encoder")
    had_bars, verbosity = output.is_progress_bar_enabled(), output.get_verbosity()
    output.disable_progress_bar()
    output.set_verbosity(max(verbosity, logging.ERROR))
    try:
        yield
    finally:
        output.set_verbosity(verbosity)
        if had_bars:
            output.enable_progress_bar()


def hash_of_weights(*modules: nn.Module) -> str:
    """Compute a SHA-256 over the names, shapes and values of all weights of some modules."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            if name.endswith("position_ids"):  # a count, which some versions don't keep
                continue
            digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
            digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).data)
    return digest.hexdigest()


def longest_input(tokenizer: Any, positions: int) -> int:
    """Find how many word pieces a text model takes, marks included.

    Args:
        tokenizer: may state a limit of its own.
        positions: that the model has embeddings for.
    """
    stated = int(tokenizer.model_max_length)
    return min(positions, stated if stated < HUGE_LENGTH else positions)
