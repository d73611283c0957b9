"""Hash functions of texts as layers that sentence-transformers has: Dense, LayerNorm, Normalize.

Every step here is an identity of real numbers, so that nothing is learned and nothing is lost but
rounding. That a kernel regression is dense layers, too, takes one observation: rows x and landmarks
y have length 1, so `exp(-s |x - y|^2) = exp(z)` with `z = 2 s x.y - s (1 + |y|^2)`, which is affine
in x and at most 0; and there ELU is `exp(z) - 1`. What a hidden layer adds to an affine map is one
layer of twice as many ReLUs more, since `x = relu(x) - relu(-x)`.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from modalhash.errors import InputError
from modalhash.extras import import_optional
from modalhash.layers import FeatureScaling, KernelHead, LinearHead, NormalisedHead, ScalingRule
from modalhash.layers.hash_heads import LayeredHead
from modalhash.methods.hasher import HashTower

__all__ = ["DenseLayers", "add_tower"]

UNIT_RULES = (ScalingRule.UNIT, ScalingRule.CENTRED_UNIT)


class DenseLayers:
    """Collects modules; affine maps are composed in float64 until something else comes.

    Args:
        width: of the vectors that come in.

    Raises:
        MissingExtraError: if sentence-transformers isn't installed.
    """

    def __init__(self, width: int) -> None:
        self._library: Any = import_optional(
            "sentence_transformers.sentence_transformer.modules",
            extra="sentence-transformers",
            feature="the export for sentence-transformers",
        )
        self.modules: list[nn.Module] = []
        self._start(width)

    def _start(self, width: int) -> None:
        """Begin a new affine map, the identity."""
        self._weight = torch.eye(width, dtype=torch.float64)
        self._bias = torch.zeros(width, dtype=torch.float64)
        self._is_identity = True

    def affine(self, weight: Tensor, bias: Tensor | None) -> None:
        """Add `weight x + bias`, (m, k) and (m,)."""
        wide = weight.detach().cpu().double()
        offset = 0.0 if bias is None else bias.detach().cpu().double()
        self._weight, self._bias = wide @ self._weight, wide @ self._bias + offset
        self._is_identity = False

    def shift(self, offset: Tensor) -> None:
        """Add a vector (m,)."""
        self._bias = self._bias + offset.detach().cpu().double()
        self._is_identity = False

    def activate(self, function: nn.Module) -> None:
        """End the affine map as a dense layer with an activation."""
        n_outputs, n_inputs = self._weight.shape
        self.modules.append(
            self._library.Dense(
                n_inputs,
                n_outputs,
                bias=True,
                activation_function=function,
                init_weight=self._weight.float(),
                init_bias=self._bias.float(),
            )
        )
        self._start(n_outputs)

    def finish(self) -> None:
        """End the affine map as a dense layer, if it isn't the identity."""
        if not self._is_identity:
            self.activate(nn.Identity())

    def normalise(self) -> None:
        """Scale vectors to length 1."""
        self.finish()
        self.modules.append(self._library.Normalize())

    def layer(self, layer: nn.Module) -> None:
        """Add a layer of torch.

        Raises:
            InputError: if it is of a kind that sentence-transformers hasn't.
        """
        match layer:
            case nn.Sequential():
                for part in layer:
                    self.layer(part)
            case nn.Linear():
                self.affine(layer.weight, layer.bias)
            case nn.Dropout():
                pass
            case nn.ReLU():
                self.activate(nn.ReLU())
            case nn.GELU(approximate="none"):
                self.activate(nn.GELU())
            case nn.LeakyReLU():
                width = len(self._bias)
                both = torch.cat([torch.eye(width), -torch.eye(width)])
                self.affine(both, None)
                self.activate(nn.ReLU())
                slope = torch.tensor([1.0, -layer.negative_slope]).double()
                self.affine(torch.kron(slope[None], torch.eye(width).double()), None)
            case nn.BatchNorm1d(running_mean=Tensor() as mean, running_var=Tensor() as variance):
                scale = layer.weight.double() / (variance.double() + layer.eps).sqrt()
                self.affine(torch.diag(scale), layer.bias - mean * scale)
            case nn.LayerNorm(eps=1e-5):
                self.finish()
                norm = self._library.LayerNorm(layer.normalized_shape[0])
                norm.norm.load_state_dict(layer.state_dict())
                self.modules.append(norm)
            case _:
                raise cannot_write(layer)


def add_tower(layers: DenseLayers, tower: HashTower) -> None:
    """Add the hash function of texts.

    Raises:
        InputError: if it is of a kind that can't be written with these layers.
    """
    add_scaling(layers, tower.scaling)
    head = tower.head
    match head:
        case LinearHead():
            layers.layer(head.map)
        case LayeredHead():
            layers.layer(head.layers)
        case NormalisedHead(attention=None):
            layers.layer(head.trunk)
            layers.layer(head.last)
        case KernelHead() if tower.scaling.rule in UNIT_RULES:
            add_kernel(layers, head)
        case _:
            raise cannot_write(head)
    layers.finish()


def add_scaling(layers: DenseLayers, scaling: FeatureScaling) -> None:
    """Add the scaling of features."""
    match scaling.rule:
        case ScalingRule.UNIT:
            layers.normalise()
        case ScalingRule.CENTRED_UNIT | ScalingRule.CENTRED_RMS:
            layers.normalise()
            layers.shift(-scaling.mean)
            layers.normalise()
            if scaling.rule is ScalingRule.CENTRED_RMS:
                width = len(scaling.mean)
                layers.affine(math.sqrt(width) * torch.eye(width), None)
        case ScalingRule.STANDARDISED:
            layers.shift(-scaling.mean)
            layers.affine(torch.diag(scaling.scale), None)


def add_kernel(layers: DenseLayers, head: KernelHead) -> None:
    """Add a kernel regression of rows of length 1, and its bits."""
    landmarks, sharpness = head.landmarks.double(), head.sharpness
    offset = -sharpness * (1 + landmarks.square().sum(dim=1))
    layers.affine(2 * sharpness * landmarks, offset)
    layers.activate(nn.ELU())
    weights = head.weights.double()
    layers.affine(weights.T, weights.sum(dim=0))  # ELU is the kernel less 1
    bits = head.bits
    if bits.hidden is None:
        layers.layer(bits.affine)
        return
    first, last = bits.hidden[0], bits.hidden[-1]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    width = bits.sizes[0]
    identity = torch.eye(width)
    scaled = first.weight * math.sqrt(width)
    nothing = torch.zeros(2 * width)
    layers.affine(torch.cat([scaled, identity, -identity]), torch.cat([first.bias, nothing]))
    layers.activate(nn.ReLU())
    affine = bits.affine
    together = torch.cat([last.weight, affine.weight, -affine.weight], dim=1)
    layers.affine(together, last.bias + affine.bias)


def cannot_write(part: nn.Module) -> InputError:
    """Make the error of a part that sentence-transformers has no layers for."""
    return InputError(
        f"the export for sentence-transformers can't write a {type(part).__name__}: it writes "
        "linear maps, hidden layers and kernel regressions of pooled features, as the default "
        "method `nested` learns them; `--format onnx` writes more"
    )


def describe_layers(modules: list[nn.Module]) -> list[dict[str, Any]]:
    """Describe modules for people: the class of each, and what it gives."""
    described = []
    for module in modules:
        entry: dict[str, Any] = {"module": type(module).__name__}
        if type(module).__name__ == "Dense":
            config: Any = module
            entry |= {
                "width": config.out_features,
                "activation": type(config.activation_function).__name__,
            }
        described.append(entry)
    return described
