import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import pytest

from modalhash.errors import SettingError, UnknownNameError
from modalhash.layers import ScalingRule
from modalhash.methods import METHODS, method_class
from modalhash.methods.base import (
    CaptionChoice,
    FeatureShapes,
    GradientMethod,
    Heads,
    LossReport,
    Optimiser,
    Schedule,
    TrainingSettings,
)
from modalhash.methods.settings import make_method, read_value


@dataclass(frozen=True)
class ToySettings:
    """Settings of a method that is never trained."""

    depth: int = 2
    """Layers."""
    weight: float = 0.5
    """Weight."""
    is_wide: bool = False
    """Whether it is wide."""
    note: str = "none"
    """Any text."""

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise SettingError(f"depth is {self.depth}, expected at least 1")


class Toy(GradientMethod[Heads]):
    """A method that is never trained."""

    name = "toy"
    title = "Toy"
    settings_class = ToySettings
    settings: ToySettings
    training = TrainingSettings(epochs=7)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"deep": {"depth": 9, "epochs": 70}}

    def build_heads(self, shapes: FeatureShapes, n_bits: int) -> Heads:
        raise NotImplementedError

    def batch_loss(self, *_: Any) -> LossReport:
        raise NotImplementedError


def test_defaults() -> None:
    method, training = make_method(Toy)
    assert isinstance(method, Toy)
    assert method.settings == ToySettings()
    assert training == Toy.training
    assert not method.is_supervised


def test_a_preset_comes_before_a_user_s_changes() -> None:
    method, training = make_method(Toy, preset="deep")
    assert (method.settings.depth, training.epochs) == (9, 70)
    method, training = make_method(Toy, preset="deep", changes={"depth": "3"})
    assert (method.settings.depth, training.epochs) == (3, 70)
    assert Toy.training.epochs == 7


def test_who_names_epochs_gets_them_whatever_the_steps() -> None:
    cfrh = method_class("cfrh")
    assert make_method(cfrh, preset="dense")[1].least_steps == 500
    named = make_method(cfrh, preset="dense", changes={"epochs": "3"})[1]
    assert (named.epochs, named.least_steps) == (3, 0)
    both = make_method(cfrh, preset="dense", changes={"epochs": 3, "least_steps": 40})[1]
    assert (both.epochs, both.least_steps) == (3, 40)
    nested = method_class("nested")
    assert make_method(nested)[1].most_steps > 0
    assert make_method(nested, changes={"epochs": 3})[1].most_steps == 0


def test_texts_are_read_as_each_setting_s_type() -> None:
    method, training = make_method(
        Toy,
        changes={
            "depth": "4", "weight": "1e-3", "is_wide": "yes", "note": "a b",
            "learning_rate": "1", "optimiser": "adamw", "schedule": "one_cycle",
            "captions": "all", "image_scaling": "centred_unit", "drop_last": "off",
        },
    )  # fmt: skip
    assert asdict(method.settings) == {"depth": 4, "weight": 1e-3, "is_wide": True, "note": "a b"}
    assert training == TrainingSettings(
        epochs=7,
        learning_rate=1.0,
        optimiser=Optimiser.ADAMW,
        schedule=Schedule.ONE_CYCLE,
        captions=CaptionChoice.ALL,
        image_scaling=ScalingRule.CENTRED_UNIT,
        drop_last=False,
    )
    assert type(training.learning_rate) is float


def test_an_unknown_setting_lists_the_known_ones_and_the_nearest() -> None:
    known = (
        "batch_size, captions, compatibility_weight, depth, drop_last, encoder_precision, "
        "encoder_rate_scale, epochs, flip_pictures, freeze_blocks, gradient_clip, image_scaling, "
        "image_token_grid, image_token_width, is_wide, learning_rate, least_steps, momentum, "
        "most_steps, note, optimiser, schedule, smallest_crop, text_scaling, text_token_width, "
        "tune_encoder, validation_share, weight, weight_decay"
    )
    message = f"unknown setting of toy 'learnin_rate': did you mean 'learning_rate'? Known: {known}"
    with pytest.raises(UnknownNameError, match=f"^{re.escape(message)}$"):
        make_method(Toy, changes={"learnin_rate": 1})


def test_an_unknown_preset_and_an_unknown_method() -> None:
    message = "unknown preset of toy 'deap': did you mean 'deep'? Known: deep"
    with pytest.raises(UnknownNameError, match=f"^{re.escape(message)}$"):
        make_method(Toy, preset="deap")
    message = f"unknown method 'cfrhh': did you mean 'cfrh'? Known: {', '.join(sorted(METHODS))}"
    with pytest.raises(UnknownNameError, match=f"^{re.escape(message)}$"):
        method_class("cfrhh")


@pytest.mark.parametrize(
    ("value", "wanted", "expected"),
    [
        ("20", int, 20), (20, int, 20), ("-3", int, -3),
        ("0.5", float, 0.5), (2, float, 2.0), (0.5, float, 0.5), ("1e-4", float, 1e-4),
        ("True", bool, True), ("yes", bool, True), ("ON", bool, True), ("1", bool, True),
        ("false", bool, False), ("No", bool, False), ("off", bool, False), ("0", bool, False),
        (True, bool, True), ("text", str, "text"), ("", str, ""),
        ("adam", Optimiser, Optimiser.ADAM), (Optimiser.SGD, Optimiser, Optimiser.SGD),
    ],
)  # fmt: skip
def test_values_are_read(value: Any, wanted: type, expected: Any) -> None:
    found = read_value("setting", value, wanted)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "wanted", "expected"),
    [
        ("2.5", int, "a whole number"), (2.0, int, "a whole number"), (True, int, "a whole number"),
        ("", int, "a whole number"), (None, int, "a whole number"),
        ("half", float, "a number"), (True, float, "a number"), ([1], float, "a number"),
        ("nan", float, "a number"), ("inf", float, "a number"), (math.nan, float, "a number"),
        ("maybe", bool, "true or false"), (1, bool, "true or false"),
        (5, str, "a text"), (None, str, "a text"),
        ("rmsprop", Optimiser, "one of: sgd, adam, adamw"),
        (3, Optimiser, "one of: sgd, adam, adamw"),
        ("ADAM", Optimiser, "one of: sgd, adam, adamw"),
    ],
)  # fmt: skip
def test_values_of_a_wrong_type_are_refused(value: Any, wanted: type, expected: str) -> None:
    message = f"setting is {value!r}, expected {expected}"
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        read_value("setting", value, wanted)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0, expected at least 1"),
        ({"batch_size": 0}, "batch_size is 0, expected at least 1"),
        ({"learning_rate": 0}, "learning_rate is 0.0, expected positive"),
        ({"momentum": 1}, "momentum is 1.0, expected in [0, 1)"),
        ({"momentum": -0.1}, "momentum is -0.1, expected in [0, 1)"),
        ({"weight_decay": -1}, "weight_decay is -1.0, expected 0 or more"),
        ({"gradient_clip": -1}, "gradient_clip is -1.0, expected 0 or more"),
        ({"validation_share": 0.6}, "validation_share is 0.6, expected in [0, 0.5]"),
        ({"depth": "0"}, "depth is 0, expected at least 1"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        make_method(Toy, changes=changes)
