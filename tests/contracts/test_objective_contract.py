"""Laws that the objective of every method trained by gradient keeps, in float64 on a few pairs."""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from modalhash.layers import ModalityFeatures
from modalhash.methods.base import Batch, FeatureShapes, GradientMethod, Heads, LossReport, Moment
from modalhash.methods.settings import make_method
from modalhash.training import TrainingPlan, train_method
from tests.oracles import paired_features
from tests.oracles.held_detached import HeldDetached
from tests.oracles.method_cases import all_method_classes, small_settings, tiny_settings

N_PAIRS, N_BATCH, N_BITS, N_CLASSES = 12, 6, 6, 3
IMAGE_WIDTH, TEXT_WIDTH, IMAGE_TOKENS, TEXT_TOKENS = 4, 5, 3, 2
MOMENT = Moment(2, 4)

METHOD_CLASSES = {
    name: found for name, found in all_method_classes().items() if issubclass(found, GradientMethod)
}
every_method = pytest.mark.parametrize("name", sorted(METHOD_CLASSES))
every_removal = pytest.mark.parametrize(
    ("name", "ablation", "part"),
    [
        (name, ablation, part)
        for name, found in sorted(METHOD_CLASSES.items())
        for ablation, parts in found.removed_parts.items()
        for part in parts
    ],
)
every_ablation = pytest.mark.parametrize(
    ("name", "ablation"),
    [
        (name, ablation)
        for name in sorted(METHOD_CLASSES)
        for ablation in METHOD_CLASSES[name].ablations
    ],
)

every_variant = pytest.mark.parametrize(
    ("name", "preset", "ablation"),
    [
        variant
        for name, found in sorted(METHOD_CLASSES.items())
        for variant in (
            *((name, preset, None) for preset in found.presets),
            *((name, None, ablation) for ablation in found.ablations),
        )
    ],
)


def variant_of(name: str, preset: str | None, ablation: str | None) -> GradientMethod[Any]:
    """A tiny method with a preset, or without what an ablation turns off."""
    changes = METHOD_CLASSES[name].ablations[ablation] if ablation else {}
    return made_method(name, changes, preset=preset)


def made_pairs(n: int = N_PAIRS, *, times: float = 1.0) -> Batch:
    """Made pairs in float64: features about 1 in size, tokens, labels of one or two classes."""
    generator = torch.Generator().manual_seed(5)

    def drawn(*shape: int) -> Tensor:
        return times * torch.randn(*shape, generator=generator, dtype=torch.float64)

    labels = torch.zeros(n, N_CLASSES, dtype=torch.float64)
    labels[torch.arange(n), torch.arange(n) % N_CLASSES] = 1
    labels[::4, 0] = 1
    return Batch(
        ModalityFeatures(
            drawn(n, IMAGE_WIDTH),
            drawn(n, IMAGE_TOKENS, IMAGE_WIDTH),
            torch.ones(n, IMAGE_TOKENS).bool(),
        ),
        ModalityFeatures(
            drawn(n, TEXT_WIDTH),
            drawn(n, TEXT_TOKENS, TEXT_WIDTH),
            torch.ones(n, TEXT_TOKENS).bool(),
        ),
        labels,
        torch.arange(n),
    )


def rows(batch: Batch, places: Tensor) -> Batch:
    """Some pairs of a batch, in the order of their places."""

    def chosen(features: ModalityFeatures) -> ModalityFeatures:
        assert features.tokens is not None
        assert features.token_mask is not None
        return ModalityFeatures(
            features.pooled[places], features.tokens[places], features.token_mask[places]
        )

    assert batch.labels is not None
    return Batch(
        chosen(batch.image), chosen(batch.text), batch.labels[places], batch.positions[places]
    )


@dataclass(frozen=True)
class MadeView:
    """All made pairs as training sees them."""

    pairs: Batch

    @property
    def n_pairs(self) -> int:
        return len(self.pairs)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        for start in range(0, self.n_pairs, batch_size):
            yield rows(self.pairs, torch.arange(start, min(start + batch_size, self.n_pairs)))


def made_method(
    name: str, changes: Mapping[str, Any] | None = None, *, preset: str | None = None
) -> GradientMethod[Any]:
    """A tiny method with a preset, by default the one that suits dense features."""
    found = METHOD_CLASSES[name]
    method, _ = make_method(
        found,
        preset=preset or found.preset_for(has_sparse_texts=False),
        changes={**tiny_settings(found), **(changes or {})},
    )
    assert isinstance(method, GradientMethod)
    return method


def ready_heads(method: GradientMethod[Any], pairs: Batch | None = None) -> Heads:
    """Fresh heads in float64, prepared for the made pairs; the same parts start the same."""
    pairs = made_pairs() if pairs is None else pairs
    shapes = FeatureShapes(
        IMAGE_WIDTH, TEXT_WIDTH, IMAGE_WIDTH, TEXT_WIDTH, N_CLASSES, len(pairs), N_BATCH, len(pairs)
    )
    torch.manual_seed(3)
    heads: Heads = method.build_heads(shapes, N_BITS)
    heads.modules().eval()
    with torch.no_grad():
        method.before_training(heads, MadeView(single_precision(pairs)))
    heads.modules().double()
    return heads


def single_precision(pairs: Batch) -> Batch:
    """The pairs in float32, in which methods prepare."""

    def single(features: ModalityFeatures) -> ModalityFeatures:
        assert features.tokens is not None
        return ModalityFeatures(
            features.pooled.float(), features.tokens.float(), features.token_mask
        )

    assert pairs.labels is not None
    return replace(
        pairs, image=single(pairs.image), text=single(pairs.text), labels=pairs.labels.float()
    )


def evaluate(method: GradientMethod[Any], heads: Heads, batch: Batch) -> tuple[Heads, LossReport]:
    """The loss of a batch on a copy of the heads, which keeps what the loss keeps; and the copy."""
    torch.manual_seed(7)
    copied = deepcopy(heads)
    return copied, method.batch_loss(copied, batch, MOMENT)


def total_of(method: GradientMethod[Any], heads: Heads, batch: Batch) -> Tensor:
    return evaluate(method, heads, batch)[1].total


def batch_of(n: int = N_BATCH, *, times: float = 1.0) -> Batch:
    return rows(made_pairs(times=times), torch.arange(n))


def head_gradient(method: GradientMethod[Any], heads: Heads) -> Tensor:
    """The gradient of the loss for all parameters of both hash heads, in one row."""
    copied, report = evaluate(method, heads, batch_of())
    parameters = [*copied.image.parameters(), *copied.text.parameters()]
    found = torch.autograd.grad(report.total, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([one.flatten() for one in found])


WITHOUT_ORDER: dict[str, dict[str, Any]] = {
    "cirh": {"keep_share": 1.0},  # of equally related pairs, the first is the nearest
    "duch": {"view_noise": 0.0},  # noise is drawn for each place
    "ucch": {"warm_epochs": 4},  # later, negatives are drawn for each place
}
"""Settings with which the order of a batch plays no part."""


@every_method
def test_the_order_of_a_batch_changes_nothing(name: str) -> None:
    method = made_method(name, WITHOUT_ORDER.get(name))
    heads, batch = ready_heads(method), batch_of()
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    assert_close(
        total_of(method, heads, rows(batch, order)),
        total_of(method, heads, batch),
        rtol=1e-7,
        atol=1e-12,
    )


@every_variant
def test_the_gradient_equals_finite_differences(
    name: str, preset: str | None, ablation: str | None
) -> None:
    """Along one direction of all head parameters, with what has no gradient held still."""
    method = variant_of(name, preset, ablation)
    heads, batch = ready_heads(method), batch_of()
    parameters = [*heads.image.parameters(), *heads.text.parameters()]
    held, step = HeldDetached(), 1e-6
    with held.noted():
        gradient = head_gradient(method, heads)
    direction = torch.randn(len(gradient), generator=torch.Generator().manual_seed(11)).double()
    parts = torch.split(direction, [one.numel() for one in parameters])
    totals = []
    for length in (step, -step):
        with torch.no_grad():
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.add_(part.view_as(parameter), alpha=length)
        with held.repeated():
            totals.append(total_of(method, heads, batch))
        with torch.no_grad():
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.sub_(part.view_as(parameter), alpha=length)
    with torch.no_grad():
        slope = (totals[0] - totals[1]) / (2 * step)
    assert_close(slope, gradient @ direction, rtol=1e-5, atol=1e-7)


def assert_finite(method: GradientMethod[Any], heads: Heads, batch: Batch) -> None:
    copied, report = evaluate(method, heads, batch)
    parameters = [one for one in copied.modules().parameters() if one.requires_grad]
    found = torch.autograd.grad(report.total, parameters, allow_unused=True)
    assert torch.isfinite(report.total)
    assert all(one is None or bool(torch.isfinite(one).all()) for one in found)


@every_variant
@pytest.mark.parametrize("times", [0.0, 100.0])
def test_a_batch_of_zeros_or_large_features_gives_a_finite_loss_and_gradient(
    name: str, preset: str | None, ablation: str | None, times: float
) -> None:
    method = variant_of(name, preset, ablation)
    assert_finite(method, ready_heads(method), batch_of(times=times))


@every_method
def test_the_log_says_how_near_relaxed_codes_are_to_signs(name: str) -> None:
    method = made_method(name)
    values = evaluate(method, ready_heads(method), batch_of())[1].values
    for modality in ("image", "text"):
        size, cosine = (float(values[f"{modality}_{one}"]) for one in ("size", "sign_cosine"))
        assert size > 0
        assert 0 < cosine <= 1 + 1e-9


@every_variant
def test_the_smallest_batch_gives_a_finite_loss_and_gradient(
    name: str, preset: str | None, ablation: str | None
) -> None:
    method = variant_of(name, preset, ablation)
    assert_finite(method, ready_heads(method), batch_of(method.smallest_batch))


@every_method
@pytest.mark.parametrize("labels", ["none", "one class", "all"])
def test_odd_labels_give_a_finite_loss_and_gradient(name: str, labels: str) -> None:
    method = made_method(name)
    odd = torch.zeros(N_PAIRS, N_CLASSES, dtype=torch.float64)
    odd[:, : {"none": 0, "one class": 1, "all": N_CLASSES}[labels]] = 1
    pairs = replace(made_pairs(), labels=odd)
    assert_finite(method, ready_heads(method, pairs), rows(pairs, torch.arange(N_BATCH)))


@cache
def learned(name: str, ablation: str | None = None) -> dict[str, Tensor]:
    """Weights of both heads after a short training, with all parts or without one."""
    found = METHOD_CLASSES[name]
    changes = {} if ablation is None else found.ablations[ablation]
    method, training = make_method(
        found,
        preset=found.preset_for(has_sparse_texts=False),
        changes={
            **small_settings(found),
            **ON_MADE_PAIRS.get(name, {}),
            "epochs": 4,
            "batch_size": 20,
            **changes,
        },
    )
    pairs = paired_features.made_pairs(80, 0)
    result = train_method(TrainingPlan(method, training, 32), pairs.data())
    return dict(result.hasher.state_dict())


STRUCTURE = re.compile(
    r"^with all relations$|^without .*"
    r"(graph|filter|bank|memory|label (network|encoder)$|neighbours|coherence|decoders)"
)
"""What names of ablations of structural modules have: graphs, filters, memories, label networks."""
every_module = pytest.mark.parametrize(
    ("name", "module"),
    [(name, module) for name, found in sorted(METHOD_CLASSES.items()) for module in found.modules],
)


@pytest.mark.parametrize("name", sorted(all_method_classes()))
def test_every_structural_module_has_both_controls(name: str) -> None:
    found = all_method_classes()[name]
    controls = [ablation for one in found.modules.values() for ablation in (one.off, one.shuffled)]
    assert all(controls)
    assert {*controls} <= found.ablations.keys()
    structural = {ablation for ablation in found.ablations if STRUCTURE.search(ablation)}
    assert structural <= {*controls}


def gradient_with(name: str, *ablations: str) -> Tensor:
    """The gradient of the loss for both heads, with the changes of some ablations at once."""
    changes = [METHOD_CLASSES[name].ablations[ablation] for ablation in ablations]
    method = made_method(name, {key: value for one in changes for key, value in one.items()})
    return head_gradient(method, ready_heads(method))


@every_module
def test_shuffled_input_changes_the_gradient_of_the_heads(name: str, module: str) -> None:
    controls = METHOD_CLASSES[name].modules[module]
    shuffled, whole = gradient_with(name, controls.shuffled), gradient_with(name)
    assert shuffled.shape != whole.shape or not torch.equal(shuffled, whole)


@every_module
def test_a_module_that_is_off_reads_no_input(name: str, module: str) -> None:
    """Feeding it what belongs to others changes nothing: it has no say in the gradient."""
    controls = METHOD_CLASSES[name].modules[module]
    off = gradient_with(name, controls.off)
    assert torch.equal(gradient_with(name, controls.shuffled, controls.off), off)


ON_MADE_PAIRS: dict[str, dict[str, Any]] = {"jdsh": {"right_deviations": 1.0}}
"""Settings with which a part that depends on the data acts on made pairs."""
ONLY_RERANKS = {("hugging-hash-plus", "finer codes alone")}
"""Ablations of what acts after training, in reranking."""


@every_ablation
def test_an_ablation_changes_what_is_learned(name: str, ablation: str) -> None:
    whole, without = learned(name), learned(name, ablation)
    is_same = without.keys() == whole.keys() and all(
        torch.equal(value, whole[key]) for key, value in without.items()
    )
    assert is_same == ((name, ablation) in ONLY_RERANKS)


@every_ablation
def test_an_ablation_says_which_terms_it_removes(name: str, ablation: str) -> None:
    found = METHOD_CLASSES[name]
    weights = []
    for method in (made_method(name), made_method(name, found.ablations[ablation])):
        terms = evaluate(method, ready_heads(method), batch_of())[1].terms
        weights.append({term for term, value in terms.items() if value.weight})
    assert weights[0] - weights[1] <= set(found.removed_parts.get(ablation, ()))


@every_removal
def test_a_removed_part_has_no_say_in_the_gradient(name: str, ablation: str, part: str) -> None:
    """Neither a weight in the loss, nor parameters that the heads' gradient depends on."""
    found = METHOD_CLASSES[name]
    assert acts(made_method(name), part), "with the part it acts"
    assert not acts(made_method(name, found.ablations[ablation]), part)


def acts(method: GradientMethod[Any], part: str) -> bool:
    """Whether a term has a weight, or random values of an auxiliary part change the gradient."""
    heads = ready_heads(method)
    term = evaluate(method, heads, batch_of())[1].terms.get(part)
    inside = dict(heads.modules().named_parameters())
    chosen = [value for name, value in inside.items() if name.startswith(f"auxiliary.{part}.")]
    gradient = head_gradient(method, heads)
    with torch.no_grad():
        for value in chosen:
            value.copy_(torch.randn_like(value))
    changes_gradient = not torch.equal(head_gradient(method, heads), gradient)
    return changes_gradient or (term is not None and term.weight != 0)
