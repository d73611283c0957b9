"""What every method must do, whatever it minimises; a new one is found in the table by itself."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import FrozenInstanceError, fields, replace
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from modalhash.codes import Codes, code_width, unpack
from modalhash.errors import FeatureError
from modalhash.layers import ModalityFeatures
from modalhash.methods import METHODS
from modalhash.methods.base import ClosedFormMethod, GradientMethod, Needs, TrainingSettings
from modalhash.methods.hasher import Hasher, HashTower
from modalhash.methods.settings import make_method
from modalhash.metrics import COLLAPSED_SHARE
from modalhash.training import TrainingPlan, TrainingResult, train_method
from tests.oracles.largest_tensor import LargestTensor
from tests.oracles.method_cases import (
    FLOORS,
    KNOWS_NO_CHANCE,
    ONE_SPACE,
    QUICK,
    all_method_classes,
    small_settings,
)
from tests.oracles.paired_features import MadePairs, PlainTable, made_pairs
from tests.oracles.plain_search import plain_distance

TESTS = Path(__file__).parent.parent

ODD_BITS, EVEN_BITS = 13, 16

METHOD_CLASSES = all_method_classes()
every_method = pytest.mark.parametrize("name", sorted(METHOD_CLASSES))
every_built_in_method = pytest.mark.parametrize("name", sorted(METHODS))


def plan_of(name: str, n_bits: int = EVEN_BITS, *, seed: int = 0) -> TrainingPlan:
    method, training = make_method(METHOD_CLASSES[name], changes=QUICK.get(name))
    return TrainingPlan(method, training, n_bits, seed)


def pairs_for(name: str, n_train: int = 200, n_unseen: int = 100) -> MadePairs:
    return made_pairs(n_train, n_unseen, one_space=name in ONE_SPACE)


@cache
def trained(name: str, n_bits: int = EVEN_BITS, seed: int = 0) -> TrainingResult:
    return train_method(plan_of(name, n_bits, seed=seed), pairs_for(name).data())


def encoded(
    name: str, tower: HashTower, table: PlainTable, rows: NDArray[np.int64]
) -> Codes:  # fmt: skip
    if Needs.TOKENS in METHOD_CLASSES[name].needs:
        return tower.encode(table.pooled(rows), *table.tokens(rows))
    return tower.encode(table.pooled(rows))


def codes_of(name: str, hasher: Hasher, made: MadePairs) -> tuple[Codes, Codes]:
    """Codes of the unseen pictures and of their first captions."""
    return (
        encoded(name, hasher.image, made.image, made.unseen),
        encoded(name, hasher.text, made.text, made.caption_starts[made.unseen]),
    )


def recall_at_ten(queries: Codes, database: Codes) -> float:
    """Chance that the partner is among the first ten in a random order of ties, averaged."""
    chances = []
    for place, query in enumerate(queries):
        distances = [plain_distance(query, code) for code in database]
        nearer = sum(one < distances[place] for one in distances)
        tied = sum(one == distances[place] for one in distances)
        chances.append(min(max((10 - nearer) / tied, 0), 1))
    return sum(chances) / len(chances)


@every_method
def test_the_same_seed_gives_the_same_codes(name: str) -> None:
    made = pairs_for(name)
    again = train_method(plan_of(name), made.data())
    for one, other in zip(
        codes_of(name, trained(name).hasher, made), codes_of(name, again.hasher, made), strict=True
    ):
        assert_array_equal(one, other)
    for key, value in trained(name).hasher.state_dict().items():
        assert torch.equal(value, again.hasher.state_dict()[key]), key


@every_method
def test_another_seed_gives_other_codes(name: str) -> None:
    made = pairs_for(name)
    one, other = (
        codes_of(name, trained(name, EVEN_BITS, seed).hasher, made) for seed in (0, 1)
    )  # fmt: skip
    for codes, other_codes in zip(one, other, strict=True):
        assert np.array_equal(codes, other_codes) == (name in KNOWS_NO_CHANCE)


@every_method
def test_inputs_and_global_state_are_not_changed(name: str) -> None:
    made = pairs_for(name)
    before, torch_state = deepcopy(made), torch.get_rng_state()
    numpy_state = str(np.random.get_state())  # noqa: NPY002 - watched, not used
    plan = plan_of(name)
    settings = deepcopy(plan.method.settings)
    result = train_method(plan, made.data())
    codes_of(name, result.hasher, made)
    for one, other in ((made.image, before.image), (made.text, before.text)):
        assert_array_equal(one.all_pooled, other.all_pooled)
        assert one.all_tokens is not None
        assert other.all_tokens is not None
        assert_array_equal(one.all_tokens, other.all_tokens)
    assert_array_equal(made.labels, before.labels)
    assert_array_equal(made.items, before.items)
    assert_array_equal(made.caption_starts, before.caption_starts)
    assert plan.method.settings == settings
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert str(np.random.get_state()) == numpy_state  # noqa: NPY002


@every_method
@pytest.mark.parametrize("n_bits", [EVEN_BITS, ODD_BITS])
def test_bits_are_as_many_as_asked_for_and_vary(name: str, n_bits: int) -> None:
    made, hasher = pairs_for(name), trained(name, n_bits).hasher
    assert hasher.n_bits == hasher.image.n_bits == hasher.text.n_bits == n_bits
    for codes in codes_of(name, hasher, made):
        assert codes.dtype == np.uint8
        assert codes.shape == (len(made.unseen), code_width(n_bits))
        means = unpack(codes, n_bits).mean(axis=0)
        assert (np.abs(means) < 1).mean() > 0.75


@every_method
@pytest.mark.parametrize("n_bits", [EVEN_BITS, ODD_BITS])
def test_codes_beat_random_ones(name: str, n_bits: int) -> None:
    made = pairs_for(name)
    image, text = codes_of(name, trained(name, n_bits).hasher, made)
    recalls = (recall_at_ten(image, text), recall_at_ten(text, image))
    chance = 10 / len(made.unseen)
    if name in FLOORS:
        assert max(recalls) < chance + 0.15
    else:
        assert min(recalls) > chance + 0.25


def lengthen_some_rows(pooled: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiply every fortieth row by 10,000."""
    return np.where(np.arange(len(pooled))[:, None] % 40 == 0, np.float32(1e4), 1) * pooled


def fill_a_quarter(pooled: NDArray[np.float32]) -> NDArray[np.float32]:
    """Make the first quarter of the columns constant, and larger than all others."""
    is_constant = np.arange(pooled.shape[1]) < pooled.shape[1] // 4
    return np.where(is_constant, np.float32(7), pooled)


ODD_FEATURES: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "small and nearly parallel": lambda pooled: (
        np.float32(1e-3) * (pooled + 5 * np.abs(pooled).mean())
    ),
    "large with constant columns": lambda pooled: np.float32(1e3) * fill_a_quarter(pooled),
    "a few huge rows": lengthen_some_rows,
}


def change_features(made: MadePairs, kind: str) -> MadePairs:
    """Give the same pairs pooled features of an odd kind."""
    tables = [
        PlainTable(ODD_FEATURES[kind](table.all_pooled), table.all_tokens, table.all_masks)
        for table in (made.image, made.text)
    ]
    return replace(made, image=tables[0], text=tables[1])


def constant_share(name: str, preset: str | None, made: MadePairs) -> float:
    """Share of bits that never change among unseen items, trained a little."""
    the_class = METHOD_CLASSES[name]
    method, training = make_method(
        the_class,
        preset=preset,
        changes={**small_settings(the_class), "epochs": 12, "batch_size": 20},
    )
    hasher = train_method(TrainingPlan(method, training, EVEN_BITS, 0), made.data()).hasher
    signs = [unpack(codes, EVEN_BITS) for codes in codes_of(name, hasher, made)]
    return float(np.mean([(rows == rows[0]).all(axis=0).mean() for rows in signs]))


def different_presets() -> list[tuple[str, str | None]]:
    """Methods with each of their presets that differs from the ones before."""
    cases: list[tuple[str, str | None]] = []
    for name, the_class in sorted(METHOD_CLASSES.items()):
        known: list[dict[str, object]] = []
        for preset, changes in [(None, {}), *the_class.presets.items()]:
            if dict(changes) not in known and not changes.get("tune_encoder"):
                known.append(dict(changes))
                cases.append((name, preset))
    return cases


@pytest.mark.parametrize(("name", "preset"), different_presets())
def test_odd_features_give_codes_that_vary_or_are_refused(name: str, preset: str | None) -> None:
    made = pairs_for(name, 120, 60)
    # Few steps on few pairs may leave some bits constant whatever the features are.
    most = max(COLLAPSED_SHARE, constant_share(name, preset, made) + 2 / EVEN_BITS)
    refused = []
    for kind in ODD_FEATURES:
        try:
            assert constant_share(name, preset, change_features(made, kind)) <= most, kind
        except FeatureError:
            refused.append(kind)
    assert refused in ([], ["a few huge rows"])


@every_method
def test_a_code_depends_on_nothing_but_its_item(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing of a built-in head is computed row by row: all is exact arithmetic.
    monkeypatch.delattr(ModalityFeatures, "row")
    made, hasher = pairs_for(name), trained(name).hasher
    image, text = codes_of(name, hasher, made)
    rows = made.unseen
    order = np.random.default_rng(0).permutation(len(rows))
    for tower, table, places, codes in (
        (hasher.image, made.image, rows, image),
        (hasher.text, made.text, made.caption_starts[rows], text),
    ):
        assert_array_equal(encoded(name, tower, table, places[order]), codes[order])
        for place in (0, len(rows) - 1):
            alone = encoded(name, tower, table, places[place : place + 1])
            assert_array_equal(alone, codes[place : place + 1])


@every_method
def test_a_modality_is_encoded_without_the_other(name: str) -> None:
    """A tower rebuilt from its own description and weights gives the codes of the whole."""
    made, hasher = pairs_for(name), trained(name).hasher
    expected = codes_of(name, hasher, made)
    other = replace(made, image=PlainTable(-7 * made.image.all_pooled, made.image.all_tokens))
    other.image.all_masks = made.image.all_masks
    assert_array_equal(codes_of(name, hasher, other)[1], expected[1])
    for modality, table, rows, codes in (
        ("image", made.image, made.unseen, expected[0]),
        ("text", made.text, made.caption_starts[made.unseen], expected[1]),
    ):
        tower = HashTower.from_spec(hasher.spec()[modality])
        start = f"{modality}."
        tower.load_state_dict(
            {
                key.removeprefix(start): value
                for key, value in hasher.state_dict().items()
                if key.startswith(start)
            }
        )
        tower.eval()
        assert_array_equal(encoded(name, tower, table, rows), codes)


@every_method
def test_labels_and_tokens_matter_only_where_they_are_stated_as_needed(name: str) -> None:
    data, needs = pairs_for(name).data(), METHOD_CLASSES[name].needs
    changed = data
    if Needs.LABELS not in needs:
        changed = replace(changed, labels=None)
    if Needs.TOKENS not in needs:
        changed = replace(changed, with_tokens=False)
    result = train_method(plan_of(name), changed)
    for key, value in trained(name).hasher.state_dict().items():
        assert torch.equal(value, result.hasher.state_dict()[key]), key


@every_method
def test_nothing_grows_with_the_square_of_the_collection(name: str) -> None:
    made = pairs_for(name, 2_500, 0)
    plan = plan_of(name)
    settings = replace(plan.settings, epochs=1, validation_share=0.2)
    with LargestTensor() as largest:
        train_method(replace(plan, settings=settings), made.data())
    n_pairs = len(made.text)
    # What a batch or a pass over the features takes, far below n_pairs squared.
    assert largest.numbers <= max(64 * n_pairs, 2**17) < n_pairs**2 / 20
    for table in (made.image, made.text):
        assert table.most_token_rows <= 1_024


@every_method
def test_progress_is_told_to_its_end(name: str) -> None:
    told: list[tuple[int, int]] = []
    train_method(
        plan_of(name),
        pairs_for(name).data(n_items=64),
        progress=lambda _stage, done, total, _values=None: told.append((done, total)),
    )
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@every_method
def test_a_method_is_a_final_class_under_its_name(name: str) -> None:
    found = METHOD_CLASSES[name]
    assert found.name == name
    assert found.title
    assert found.needs <= set(Needs)
    kind = found.__mro__[1]
    assert kind in (GradientMethod, ClosedFormMethod) or inspect.isabstract(kind), "a final class"
    assert issubclass(found, GradientMethod | ClosedFormMethod)
    assert not inspect.isabstract(found)
    assert not {"is_supervised", "__init__"} & set(vars(found))


@every_built_in_method
def test_a_method_has_a_test_file(name: str) -> None:
    module = METHODS[name].partition(":")[0].rpartition(".")[2]
    tests = "".join(path.read_text() for path in (TESTS / "methods").glob("test_*.py"))
    assert f"modalhash.methods.{module} " in tests


def test_titles_differ() -> None:
    titles = [METHOD_CLASSES[name].title for name in METHOD_CLASSES]
    assert len(set(titles)) == len(titles)


@every_built_in_method
def test_the_docstring_says_what_it_is_and_how_it_differs(name: str) -> None:
    module = import_module(METHODS[name].partition(":")[0])
    text = module.__doc__ or ""
    assert re.search(r"https://doi\.org/\S+|https?://\S+", text), "where the paper is"
    assert re.search(r"\b(19|20)\d\d\b", text), "its year"
    assert re.search(r"^Objective\b", text, re.MULTILINE), "what is minimised"
    assert "Differs from the paper:" in text
    assert len(text.splitlines()[0]) <= 100
    assert re.search(r"\b[Ll]abels?\b|\bsupervis", text) or name in FLOORS, "its supervision"


@every_method
def test_settings_are_frozen_with_a_line_on_each_field(name: str) -> None:
    found = METHOD_CLASSES[name].settings_class
    settings = found()
    for one in fields(found):
        with pytest.raises(FrozenInstanceError):
            setattr(settings, one.name, getattr(settings, one.name))
    assert undescribed_fields(found) == []


def test_training_settings_have_a_line_on_each_field() -> None:
    assert undescribed_fields(TrainingSettings) == []


def undescribed_fields(settings: type) -> list[str]:
    """Fields of a dataclass that aren't followed by a one-line description."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(settings) or settings))
    (found,) = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name == settings.__name__
    )
    bare = []
    for node, following in zip(found.body, [*found.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign):
            continue
        match following:
            case ast.Expr(value=ast.Constant(value=str(text))) if text.strip().endswith((".", ")")):
                continue
        bare.append(ast.unparse(node.target))
    return bare


@every_method
def test_own_and_training_settings_share_no_name(name: str) -> None:
    own = {one.name for one in fields(METHOD_CLASSES[name].settings_class)}
    assert own & {one.name for one in fields(TrainingSettings)} == set()


@every_method
def test_every_preset_can_be_used(name: str) -> None:
    found = METHOD_CLASSES[name]
    for preset, changes in found.presets.items():
        method, training = make_method(found, preset=preset)
        for key, value in changes.items():
            holder = training if hasattr(training, key) else method.settings
            assert getattr(holder, key) == value


@contextmanager
def no_tensors_made() -> Iterator[None]:
    with LargestTensor() as largest:
        yield
    assert largest.numbers == 0


@every_method
def test_what_is_needed_and_missing_stops_before_any_work(name: str) -> None:
    data, needs = pairs_for(name).data(), METHOD_CLASSES[name].needs
    without = {
        Needs.LABELS: replace(data, labels=None),
        Needs.TOKENS: replace(data, image=PlainTable(pairs_for(name).image.all_pooled)),
    }
    for need in needs:
        with no_tensors_made(), pytest.raises(ValueError, match=METHOD_CLASSES[name].title):
            train_method(plan_of(name), without[need])
