"""A model of ours for MTEB, whose image-text tasks then measure its codes.

Needs `mteb`: `pip install 'modalhash[mteb]'`.
"""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from modalhash.api.opening import open_model
from modalhash.artifacts import HashModel
from modalhash.choices import Scoring, read_choice
from modalhash.codes import asymmetric_scores, binarise, pack
from modalhash.data import Modality
from modalhash.encoders import TowerOutput
from modalhash.errors import FeatureError
from modalhash.extras import import_optional

if TYPE_CHECKING:
    from mteb.models import ModelMeta

__all__ = ["MtebModel"]

Numbers = NDArray[np.float32]
QUERY: Final = "query"
ZERO_SHOT: Final = "ZeroShotClassification"
"""Type of task whose pictures are queries, though MTEB doesn't say so when it encodes them."""


class MtebModel:
    """A model of ours as MTEB's encoder: `mteb.evaluate(MtebModel("runs/photos"), tasks)`.

    Documents are codes, as numbers of -1 and +1. Queries keep their numbers by asymmetric scoring,
    and are codes by Hamming distance. Where a task has neither queries nor documents, as in
    clustering, everything is codes; in zero-shot classification pictures are queries and names of
    classes documents. The similarity is `modalhash.codes.asymmetric_scores`, which is
    `1 - 2 distance / bits` where the query is a code. An input of a text and a picture together is
    the sum of both, each of length 1, as in a search.

    MTEB counts with trec_eval: documents of equal scores, of which Hamming distance has many, are
    ordered by their names.

    Args:
        model: or its run folder, or the name of a ready model.
        scoring: "asymmetric" or "hamming".
        name: under which MTEB keeps the results; by default made of method, bits and scoring.
        device: where the model runs.

    Raises:
        MissingExtraError: if `mteb` isn't installed.
        UnknownNameError: if there is no such scoring.
    """

    def __init__(
        self,
        model: HashModel | Path | str,
        *,
        scoring: Scoring | str = Scoring.ASYMMETRIC,
        name: str | None = None,
        device: str = "auto",
    ) -> None:
        self.scoring = read_choice("scoring", Scoring, scoring)
        import_optional("mteb", extra="mteb", feature="a model for MTEB")
        self.model = open_model(model, device)
        record = self.model.record
        self.name = name or f"modalhash/{record.method}-{self.model.n_bits}-{self.scoring.value}"

    @property
    def mteb_model_meta(self) -> "ModelMeta":
        """What MTEB writes beside results; the revision is the model's fingerprint."""
        from mteb.models import ModelMeta

        return ModelMeta(
            loader=None,
            name=self.name,
            revision=self.model.fingerprint[:16],
            release_date=None,
            languages=None,
            n_parameters=None,
            memory_usage_mb=None,
            max_tokens=None,
            embed_dim=self.model.n_bits,
            license=None,
            open_weights=None,
            public_training_code=None,
            public_training_data=None,
            framework=[],
            similarity_fn_name=None,
            use_instructions=False,
            training_datasets=None,
            modalities=["image", "text"],
            experiment_kwargs={
                "scoring": self.scoring.value,
                "modalhash": version("modalhash"),
            },
        )

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> Numbers:
        """Encode texts, pictures, or both together.

        Args:
            inputs: batches with the columns `text` and `image`, or one of them.
            task_metadata: of the task.
            hf_split: passed by MTEB.
            hf_subset: passed by MTEB.
            prompt_type: "query" or "document"; None where a task has neither.
            **kwargs: passed by MTEB.

        Returns:
            (n, b) float32: the numbers before the sign, or their signs.

        Raises:
            FeatureError: if an input has neither text nor picture, or the model can't encode it.
        """
        is_zero_shot = prompt_type is None and getattr(task_metadata, "type", None) == ZERO_SHOT
        parts = [np.zeros((0, self.model.n_bits), np.float32)]
        for batch in inputs:
            relaxed = self._relax_batch(batch)
            is_query = prompt_type == QUERY or (is_zero_shot and bool(batch.get("image")))
            keeps_numbers = is_query and self.scoring is Scoring.ASYMMETRIC
            parts.append(relaxed if keeps_numbers else binarise(relaxed).astype(np.float32))
        return np.concatenate(parts)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Numbers:
        """Score documents for queries.

        Args:
            embeddings1: (q, b) or (b,) numbers of queries.
            embeddings2: (m, b) or (b,) numbers of documents; their signs count.

        Returns:
            (q, m) float32 in [-1, 1]; larger is better.
        """
        codes = pack(binarise(read_numbers(embeddings2)))
        return asymmetric_scores(read_numbers(embeddings1), codes, self.model.n_bits)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Numbers:
        """Score the i-th document for the i-th query, (n,) float32; see `similarity`."""
        pairs = zip(read_numbers(embeddings1), read_numbers(embeddings2), strict=True)
        scores = [self.similarity(query, document)[0, 0] for query, document in pairs]
        return np.array(scores, np.float32)

    def _relax_batch(self, batch: Mapping[str, Any]) -> Numbers:
        """Compute the numbers before the sign of a batch, (n, b) float32."""
        parts = [
            np.concatenate(list(self._relax(outputs, modality)))
            for modality, outputs in self._run_towers(batch)
        ]
        if not parts:
            raise FeatureError(
                f"MTEB gives {', '.join(batch) or 'nothing'}, expected texts or pictures: the "
                "model encodes no other modality"
            )
        if len(parts) == 1:
            return parts[0]
        together: Numbers = np.sum([unit_length(part) for part in parts], axis=0)
        return together

    def _run_towers(self, batch: Mapping[str, Any]) -> Iterator[tuple[Modality, list[TowerOutput]]]:
        """Yield what the encoder gives for the texts and the pictures of a batch."""
        if batch.get("text"):
            yield "text", self.model.text_outputs(list(batch["text"]))
        if batch.get("image"):
            yield "image", [self.model.image_output(image) for image in batch["image"]]

    def _relax(self, outputs: list[TowerOutput], modality: Modality) -> Iterator[Numbers]:
        """Yield the numbers before the sign of what the encoder gave."""
        for output in outputs:
            yield self.model.relaxed_features(
                output.pooled, modality, tokens=output.tokens, token_mask=output.token_mask
            )


def read_numbers(embeddings: Any) -> Numbers:
    """Read an array or a tensor, on whatever device, as (n, b) float32."""
    if hasattr(embeddings, "cpu"):
        embeddings = embeddings.cpu()
    numbers: Numbers = np.atleast_2d(np.asarray(embeddings, np.float32))
    return numbers


def unit_length(relaxed: Numbers) -> Numbers:
    """Scale rows to the length 1; zeros stay."""
    lengths = np.linalg.norm(relaxed, axis=1, keepdims=True)
    return (relaxed / np.where(lengths > 0, lengths, 1)).astype(np.float32)
