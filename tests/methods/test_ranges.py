"""Tests of settings that state their ranges; see `modalhash.methods.ranges`."""

import math
import re
from dataclasses import dataclass
from typing import Annotated

import pytest

from modalhash.errors import SettingError
from modalhash.methods.ranges import (
    AT_LEAST_ONE,
    AT_LEAST_TWO,
    COSINE_BELOW_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SHARE_ABOVE_ZERO,
    SHARE_BELOW_ONE,
    SHARE_BETWEEN,
    SHARE_TO_HALF,
    Range,
    Settings,
    check_multiple,
    check_order,
    field_ranges,
)


@dataclass(frozen=True)
class WindowSettings(Settings):
    """Settings of a window that is cut into equal parts."""

    width: Annotated[int, AT_LEAST_ONE] = 8
    """Width."""
    n_parts: Annotated[int, AT_LEAST_ONE] = 4
    """Parts."""
    left: float = 0.0
    """Left end."""
    right: float = 1.0
    """Right end."""

    def check_together(self) -> None:
        check_multiple(self, "width", "n_parts")
        check_order(self, "left", "right")


@dataclass(frozen=True)
class ShadedWindowSettings(WindowSettings):
    """Settings that a subclass adds to."""

    shade: Annotated[float, SHARE] = 0.5
    """Shade."""


@pytest.mark.parametrize(
    ("expected", "inside", "outside"),
    [
        (AT_LEAST_ONE, [1, 7], [0, -1]),
        (AT_LEAST_TWO, [2, 7], [1, 0]),
        (NOT_NEGATIVE, [0, 0.5, 9], [-1e-9]),
        (POSITIVE, [1e-9, 9], [0, -1]),
        (SHARE, [0, 0.5, 1], [-1e-9, 1 + 1e-9]),
        (SHARE_ABOVE_ZERO, [1e-9, 1], [0, 1 + 1e-9]),
        (SHARE_BELOW_ONE, [0, 1 - 1e-9], [-1e-9, 1]),
        (SHARE_BETWEEN, [1e-9, 1 - 1e-9], [0, 1]),
        (SHARE_TO_HALF, [0, 0.5], [-1e-9, 0.5 + 1e-9]),
        (COSINE_BELOW_ONE, [-1, 0, 1 - 1e-9], [-1 - 1e-9, 1]),
    ],
)
def test_ends_of_ranges(expected: Range, inside: list[float], outside: list[float]) -> None:
    assert all(expected.contains(value) for value in inside)
    assert not any(expected.contains(value) for value in [*outside, math.nan])


def test_ranges_are_read_from_the_fields_of_the_class_and_its_bases() -> None:
    assert field_ranges(ShadedWindowSettings) == {
        "width": AT_LEAST_ONE,
        "n_parts": AT_LEAST_ONE,
        "shade": SHARE,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width is 0, expected at least 1"),
        ({"shade": 1.5}, "shade is 1.5, expected in [0, 1]"),
        ({"shade": math.nan}, "shade is nan, expected in [0, 1]"),
        ({"width": 9}, "width is 9, expected a multiple of n_parts, which is 4"),
        ({"left": 2.0}, "left is 2.0, expected at most right, 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}$"):
        ShadedWindowSettings(**changes)  # type: ignore[arg-type]


def test_a_divisor_out_of_its_range_is_named_before_it_divides() -> None:
    with pytest.raises(SettingError, match=r"^n_parts is 0, expected at least 1$"):
        WindowSettings(n_parts=0)
