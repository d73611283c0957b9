"""What a user may ask of a searcher, checked: names, types and ranges."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from modalhash.errors import SettingError
from modalhash.numpy_numbers import plain_numbers

__all__ = ["RecallTarget", "SearcherSettings", "check_flag", "check_range"]

MEASURED = frozenset({"chosen", "distinct_codes", "measured", "reason"})
"""Names under which searchers state what they found; given back to `build`, they say nothing."""


@dataclass(frozen=True)
class SearcherSettings:
    """Base of the settings of one kind."""

    @classmethod
    def of(cls, kind: str, parameters: Mapping[str, Any]) -> Self:
        """Make the settings of a kind from parameters by name.

        Raises:
            SettingError: if one is unknown, listing those there are, or out of its range.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(parameters.keys() - set(known) - MEASURED)
        if unknown:
            takes = f"takes {', '.join(known)}" if known else "takes no parameters"
            raise SettingError(f"an index of kind {kind!r} {takes}; got {', '.join(unknown)}")
        chosen = {name: parameters[name] for name in known if name in parameters}
        return cls(**plain_numbers(chosen))


@dataclass(frozen=True)
class RecallTarget(SearcherSettings):
    """Settings of a kind that aims at a recall.

    Attributes:
        recall: share of the 10 nearest that should be found, in (0, 1].
    """

    recall: float = 0.95

    def __post_init__(self) -> None:
        if isinstance(self.recall, bool) or not isinstance(self.recall, int | float):
            raise SettingError(f"recall is {self.recall!r}, expected a number, such as 0.95")
        if not 0 < self.recall <= 1:
            raise SettingError(
                f"recall is {self.recall}, expected a share above 0 and at most 1, such as 0.95"
            )


def check_flag(name: str, value: object) -> None:
    """Refuse a value that isn't True or False.

    Raises:
        SettingError: if it is something else.
    """
    if not isinstance(value, bool):
        raise SettingError(f"{name} is {value!r}, expected true or false")


def check_range(name: str, value: object, low: int, high: int) -> None:
    """Refuse a value that isn't None or an integer from `low` to `high`.

    Raises:
        SettingError: if it is something else.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingError(f"{name} is {value!r}, expected an integer from {low} to {high}")
