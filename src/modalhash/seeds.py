"""Which seeds of random numbers are taken: one rule for every verb.

This file imports nothing slow, so that options can use it.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from modalhash.errors import SettingError

__all__ = ["check_seed", "check_seeds"]

LARGEST_SEED: Final = 2**32 - 1
"""The largest seed that NumPy, torch and FAISS all take."""


def check_seed(seed: object, *, name: str = "seed") -> None:
    """Refuse what isn't a seed.

    Args:
        seed: of random numbers, as a user gave it.
        name: of the argument, for the message.

    Raises:
        SettingError: if it isn't a whole number from 0 to 4294967295.
    """
    if not isinstance(seed, int | np.integer) or not 0 <= seed <= LARGEST_SEED:
        raise SettingError(f"{name} is {seed!r}, expected 0 to {LARGEST_SEED}")


def check_seeds(seeds: object) -> None:
    """Refuse an empty list of seeds, and what isn't a seed in a list.

    Raises:
        SettingError: naming what came and what was expected.
    """
    if not isinstance(seeds, Sequence) or isinstance(seeds, str) or not seeds:
        raise SettingError(f"seeds is {seeds!r}, expected at least 1 seed, as in [0, 1, 2]")
    for place, seed in enumerate(seeds):
        check_seed(seed, name=f"seeds[{place}]")
