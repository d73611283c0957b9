"""Hash functions in ONNX files: the same bits as torch's, computed by onnxruntime."""

from collections.abc import Mapping
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from modalhash.encoders.onnx_sessions import OnnxSession
from modalhash.errors import FeatureError
from modalhash.methods.feature_checks import check_pooled

__all__ = ["OnnxHasher", "OnnxTower"]

ROWS_AT_ONCE: Final = 1024


class OnnxTower:
    """The hash function of one modality.

    Args:
        session: from (n, d) `features` to (n, b) `relaxed` and (n, p) `codes`.
        width: d.
        n_bits: b.
    """

    reads_tokens: Final = False

    def __init__(self, session: OnnxSession, width: int, n_bits: int) -> None:
        self.session, self.width, self.n_bits = session, width, n_bits

    def relaxed(
        self,
        pooled: NDArray[np.float32],
        tokens: NDArray[np.float32] | None = None,
        token_mask: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """Compute relaxed codes; their signs are the codes.

        Args:
            pooled: (n, d) float32, unscaled; n may be 0.
            tokens: not read.
            token_mask: not read.

        Returns:
            (n, b) float32, the same bits as torch computes.

        Raises:
            DamagedArtifactError: if the file isn't of this model.
            FeatureError: if the width differs from the model's, or a value isn't finite.
        """
        del tokens, token_mask
        check_pooled(pooled, self.width)
        self.session.check_output("relaxed", self.n_bits)
        result = np.zeros((len(pooled), self.n_bits), np.float32)
        for start in range(0, len(pooled), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            (result[rows],) = self.session.run({"features": pooled[rows]}, "relaxed")
        return result


class OnnxHasher:
    """The hash functions of both modalities; see `HashFunctions`.

    Args:
        image: of pictures.
        text: of texts.
        towers: what the model's record says of them.
    """

    fine: Final = None
    reads_tokens: Final = False

    def __init__(self, image: OnnxTower, text: OnnxTower, towers: Mapping[str, Any]) -> None:
        self.image, self.text, self._towers = image, text, towers

    def fine_coder(self) -> NoReturn:
        """Refuse to make finer codes.

        Raises:
            FeatureError: always.
        """
        raise FeatureError(
            "a model in ONNX files makes no finer codes to rerank by: rerank by features, or "
            "install modalhash[offline] and take the model that was exported"
        )

    def fine_codes(self, *_: Any) -> NoReturn:
        """Refuse to make finer codes; see `fine_coder`."""
        self.fine_coder()

    def fine_queries(self, *_: Any) -> NoReturn:
        """Refuse to make finer codes; see `fine_coder`."""
        self.fine_coder()

    def spec(self) -> Mapping[str, Any]:
        """Describe the hash functions as the model's record does."""
        return self._towers
