"""NumPy's numbers where Python's are expected: one place that turns the first into the second.

`numpy.int64(16)` isn't an `int`: JSON refuses it, and so do checks of types. Users get such numbers
out of arrays and ranges without noticing, so every verb takes them.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np

__all__ = ["json_number", "plain_numbers", "takes_numpy_numbers"]

NUMPY_NUMBERS: Final = (np.bool_, np.number)
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def plain_numbers(value: Any) -> Any:
    """Turn NumPy's numbers into Python's, also those in lists, tuples and mappings.

    Anything else is given back as it is; arrays too.

    Example:
        >>> plain_numbers({"bits": [np.int64(16)], "rate": np.float32(0.5), "name": "a"})
        {'bits': [16], 'rate': 0.5, 'name': 'a'}
    """
    if isinstance(value, NUMPY_NUMBERS):
        return value.item()
    if type(value) is dict:
        return {name: plain_numbers(part) for name, part in value.items()}
    if type(value) in (list, tuple) and any(isinstance(part, NUMPY_NUMBERS) for part in value):
        return type(value)(map(plain_numbers, value))
    return value


def takes_numpy_numbers(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a function take NumPy's numbers wherever it takes Python's."""

    @wraps(function)
    def call(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        plain = map(plain_numbers, arguments)
        return function(*plain, **{name: plain_numbers(value) for name, value in named.items()})

    return call


def json_number(value: object) -> Any:
    """Give JSON Python's number for NumPy's; the argument `default` of `json.dumps`.

    Raises:
        TypeError: if it isn't a number.
    """
    plain = plain_numbers(value)
    if plain is value:
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    return plain
