"""Hash functions as ONNX: the bits of torch, computed by two other programs."""

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from modalhash.errors import InputError
from modalhash.layers import FeatureScaling, LinearHead, ScalingRule
from modalhash.layers.modality_features import ModalityFeatures
from modalhash.methods.hasher import HashTower
from modalhash.model_export.head_graphs import head_graph
from tests.oracles.rows_of_heads import WIDTH, tower

POOLED_HEADS = ["linear", "mlp", "gelu", "normalised", "kernel", "fusion", "landmark", "graded"]
N_ROWS = 10_000


def features(n_rows: int = N_ROWS, width: int = WIDTH) -> NDArray[np.float32]:
    """Return rows of all sizes, some of them all zeros, as float16 holds them."""
    drawn = np.random.default_rng(7).standard_normal((n_rows, width))
    drawn *= 10.0 ** np.random.default_rng(8).integers(-4, 3, (n_rows, 1))
    drawn[::1000] = 0
    return drawn.astype(np.float16).astype(np.float32)


def session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", POOLED_HEADS)
def test_onnxruntime_computes_the_bits_of_torch(name: str) -> None:
    head, rows = tower(name), features()
    relaxed, codes = session(head_graph(head, "float16", {}, about="a test")).run(
        ["relaxed", "codes"], {"features": rows}
    )
    expected = head.relaxed(rows)
    assert relaxed.dtype == np.float32
    np.testing.assert_array_equal(relaxed, expected)
    # The low end first, as NumPy packs; a relaxed value of 0 is a set bit.
    np.testing.assert_array_equal(codes, np.packbits(expected >= 0, axis=1, bitorder="little"))


@pytest.mark.parametrize("rule", list(ScalingRule))
def test_scalings_are_computed_to_the_bit(rule: ScalingRule) -> None:
    scaled = HashTower(FeatureScaling(rule, WIDTH), LinearHead(WIDTH, 24)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        scaled.scaling.mean.copy_(torch.randn(WIDTH, generator=generator) * 0.01)
        scaled.scaling.scale.copy_(torch.rand(WIDTH, generator=generator) + 0.5)
    rows = features(500)
    model = session(head_graph(scaled, "float32", {}, about="a test"))
    np.testing.assert_array_equal(
        model.run(["relaxed"], {"features": rows})[0], scaled.relaxed(rows)
    )


@pytest.mark.parametrize("name", ["kernel", "gelu"])
def test_the_reference_evaluator_of_onnx_agrees(name: str) -> None:
    head, rows = tower(name), features(40)
    model = onnx.load_from_string(head_graph(head, "float16", {}, about="a test"))
    (relaxed,) = onnx.reference.ReferenceEvaluator(model).run(["relaxed"], {"features": rows})
    np.testing.assert_array_equal(relaxed, head.relaxed(rows))


@pytest.mark.parametrize("name", POOLED_HEADS)
def test_values_are_those_of_the_plain_network(name: str) -> None:
    head, rows = tower(name), features(200)
    model = session(head_graph(head, "float16", {}, about="a test"))
    (relaxed,) = model.run(["relaxed"], {"features": rows})
    with torch.no_grad():
        plain = head.double()(ModalityFeatures(torch.from_numpy(rows).double())).numpy()
    scale = np.abs(plain).max()
    np.testing.assert_allclose(relaxed, plain, rtol=1e-4, atol=1e-5 * scale)


def test_features_are_rounded_as_they_are_stored() -> None:
    head = tower("linear")
    rows = np.full((1, WIDTH), 1 / 3, np.float32)
    model = session(head_graph(head, "float16", {}, about="a test"))
    (relaxed,) = model.run(["relaxed"], {"features": rows})
    rounded = rows.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(relaxed, head.relaxed(rounded))
    assert not np.array_equal(relaxed, head.relaxed(rows))


def test_metadata_and_any_number_of_rows() -> None:
    model = session(head_graph(tower("kernel"), "float16", {"modalhash.n_bits": "10"}, about="x"))
    assert model.get_modelmeta().custom_metadata_map == {"modalhash.n_bits": "10"}
    (given,) = model.get_inputs()
    assert (given.name, given.shape) == ("features", ["n", WIDTH])
    assert [(o.name, o.shape, o.type) for o in model.get_outputs()] == [
        ("relaxed", ["n", 10], "tensor(float)"),
        ("codes", ["n", 2], "tensor(uint8)"),
    ]
    whole = model.run(["codes"], {"features": features(50)})[0]
    alone = [model.run(["codes"], {"features": features(50)[row : row + 1]})[0] for row in range(5)]
    np.testing.assert_array_equal(np.concatenate(alone), whole[:5])


def test_heads_that_cannot_be_written_are_refused() -> None:
    with pytest.raises(InputError, match="reads content tokens, which the export to ONNX doesn't"):
        head_graph(tower("token none"), "float16", {}, about="a test")

    class OwnHead(LinearHead):
        """A head of another package."""

    own = HashTower(FeatureScaling(ScalingRule.NONE, 4), OwnHead(4, 8))
    with pytest.raises(InputError, match="can't write hash heads of the class OwnHead"):
        head_graph(own, "float16", {}, about="a test")
