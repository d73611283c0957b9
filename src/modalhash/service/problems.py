"""What is wrong with a request's fields, in a sentence."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["describe_problems"]

PLACES: Final = frozenset({"body", "query", "path"})
LONGEST: Final = 300


def describe_problems(problems: Sequence[Mapping[str, Any]]) -> str:
    """Return the first problem that a check of types found, and how many more there are.

    Args:
        problems: each with `loc`, where it is, and `msg`.

    Example:
        >>> problem = {"loc": ("body", "queries", 0, "k"), "msg": "Input should be an integer"}
        >>> describe_problems([problem])
        'queries[0].k: Input should be an integer'
    """
    first, more = problems[0], len(problems) - 1
    where = ""
    for part in (
        first["loc"][1:] if first["loc"][:1] and first["loc"][0] in PLACES else first["loc"]
    ):
        where += f"[{part}]" if isinstance(part, int) else f".{part}"
    told = f"{where.lstrip('.')}: {first['msg']}" if where else str(first["msg"])
    told = told.encode(errors="replace").decode()[:LONGEST]
    return f"{told} (and {more} more)" if more else told
