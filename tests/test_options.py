"""Options that verbs share: one object, or its fields as keywords."""

import inspect
import re
from dataclasses import FrozenInstanceError, fields

import pytest

import modalhash as mh
from modalhash.errors import InputError, UnknownNameError
from modalhash.metrics.options import MeasureChoices
from modalhash.options import (
    EvaluationChoices,
    EvaluationOptions,
    FeatureChoices,
    FeatureOptions,
    GridChoices,
    GridOptions,
    LabelNoiseChoices,
    LabelNoiseOptions,
    RunChoices,
    RunOptions,
    TrainingChoices,
    TrainingOptions,
    TuningChoices,
    TuningOptions,
    change_options,
)

PAIRS = (
    (RunOptions, RunChoices),
    (FeatureOptions, FeatureChoices),
    (TrainingOptions, TrainingChoices),
    (EvaluationOptions, EvaluationChoices),
    (TuningOptions, TuningChoices),
    (GridOptions, GridChoices),
    (LabelNoiseOptions, LabelNoiseChoices),
)
LONGEST_SIGNATURE = 13


@pytest.mark.parametrize(("options", "choices"), PAIRS, ids=lambda kind: kind.__name__)
def test_every_field_is_a_keyword(options: type, choices: type) -> None:
    names = {field.name for field in fields(options)}
    extra = set(MeasureChoices.__annotations__) if "measures" in names else set()
    assert set(choices.__annotations__) == names | extra


def test_keywords_win_over_the_object() -> None:
    options = TrainingOptions(device="cpu", frames=3)
    changed = change_options(TrainingOptions, options, {"frames": 5, "resume": True})
    assert changed == TrainingOptions(device="cpu", frames=5, resume=True)
    assert options.frames == 3
    with pytest.raises(FrozenInstanceError):
        options.frames = 4  # type: ignore[misc]


def test_measures_are_given_beside_the_other_keywords() -> None:
    options = EvaluationOptions(measures={"top_k": (10,), "seed": 3})
    changed = change_options(EvaluationOptions, options, {"seed": 4, "rerank": "all"})
    assert changed == EvaluationOptions(rerank="all", measures={"top_k": (10,), "seed": 4})


def test_wrong_options_are_refused() -> None:
    message = (
        "unknown option 'cahce': did you mean 'cache'? Known: cache, device, progress, skip_bad"
    )
    with pytest.raises(UnknownNameError, match=f"^{re.escape(message)}$"):
        change_options(RunOptions, None, {"cahce": "x"})
    message = "options is a TrainingOptions, expected TuningOptions or keywords"
    with pytest.raises(InputError, match=f"^{message}$"):
        change_options(TuningOptions, TrainingOptions(), {})
    with pytest.raises(UnknownNameError, match=r"^unknown option 'resume'"):
        mh.evaluate("nowhere", resume=True)  # type: ignore[call-arg]
    with pytest.raises(InputError, match=r"^bits: at least 1 length is needed$"):
        GridOptions(bits=())


@pytest.mark.parametrize(
    "verb", [mh.train, mh.evaluate, mh.tune, mh.bench, mh.ablate, mh.reproduce, mh.robustness]
)
def test_signatures_are_short(verb: object) -> None:
    assert len(inspect.signature(verb).parameters) <= LONGEST_SIGNATURE  # type: ignore[arg-type]
