"""One rule says which seeds are taken, and every verb keeps it before it opens anything."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modalhash as mh
from modalhash.benchmarking.label_noise import flip_labels
from modalhash.errors import InputError
from modalhash.retrievers.random_rotation import RandomRotation
from modalhash.seeds import check_seed, check_seeds

RANGE = "expected 0 to 4294967295"


@pytest.mark.parametrize("seed", [0, 2**32 - 1, np.int64(7), True])
def test_seeds_that_are_taken(seed: int) -> None:
    check_seed(seed)
    check_seeds([seed])


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, "1", None])
def test_seeds_that_are_refused(seed: Any) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(f'split_seed is {seed!r}, {RANGE}')}$"):
        check_seed(seed, name="split_seed")
    with pytest.raises(InputError, match=f"^{re.escape(f'seeds[1] is {seed!r}, {RANGE}')}$"):
        check_seeds([0, seed])


@pytest.mark.parametrize("seeds", [(), 3, "012", None])
def test_what_is_no_list_of_seeds(seeds: Any) -> None:
    message = f"seeds is {seeds!r}, expected at least 1 seed, as in [0, 1, 2]"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        check_seeds(seeds)


@pytest.mark.parametrize(
    ("verb", "arguments", "named", "name"),
    [
        ("train", ("nowhere",), {"seed": -1}, "seed"),
        ("tune", ("djsrh", "nowhere", "OUT"), {"seed": -1, "n_trials": 1}, "seed"),
        ("load_collection", ("nowhere",), {"split_seed": -1}, "split_seed"),
        ("bench", ("nowhere",), {"seeds": [0, -1], "output": "OUT"}, "seeds[1]"),
        ("ablate", ("cfrh", "nowhere"), {"seeds": [-1], "output": "OUT"}, "seeds[0]"),
        ("reproduce", ("djsrh", "nowhere"), {"seeds": [-1], "output": "OUT"}, "seeds[0]"),
        ("robustness", ("nowhere",), {"seeds": [-1]}, "seeds[0]"),
        ("bench_quantizers", ("nowhere",), {"seeds": [-1], "output": "OUT"}, "seeds[0]"),
    ],
)
def test_every_verb_keeps_the_rule(
    verb: str,
    arguments: tuple[str, ...],
    named: dict[str, Any],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"^{re.escape(f'{name} is -1, {RANGE}')}$"):
        getattr(mh, verb)(*arguments, **named)
    assert list(tmp_path.iterdir()) == []


def test_functions_below_the_verbs_keep_it_too() -> None:
    with pytest.raises(InputError, match=f"^seed is -1, {RANGE}$"):
        flip_labels(np.zeros((2, 5), np.uint8), 0.2, seed=-1)
    with pytest.raises(InputError, match=f"^seed is -1, {RANGE}$"):
        RandomRotation.draw(8, 16, seed=-1)
