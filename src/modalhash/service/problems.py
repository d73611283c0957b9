"""What is wrong with a request's fields, in a sentence that names fields only."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from modalhash.service.refusals import RefusedError, beyond_limit, invalid

__all__ = ["describe_problems", "refuse_problems"]

PLACES: Final = frozenset({"body", "query", "path"})
LONGEST: Final = 300
UNKNOWN_FIELD: Final = "extra_forbidden"
MESSAGES: Final = {
    UNKNOWN_FIELD: "there is no such field",
    "model_type": "expected a JSON object",
    "missing": "this field is needed",
}
"""What is said in the place of pydantic's own words, by its types of problems."""
HINTS: Final = {"where": "a filter is called `filter` over HTTP"}
"""What stands behind the name of a field that the command line and the library have."""
BRANCHES: Final = frozenset({"bool", "dict", "float", "int", "list", "none", "str"})
"""Names that pydantic gives to the branches of a union."""


def describe_problems(problems: Sequence[Mapping[str, Any]], *, place: str = "") -> str:
    """Describe the first problem that a check of types found, and count the others.

    Args:
        problems: each with `loc`, where it is, and `msg`.
        place: of the document in the request.

    Example:
        >>> problem = {"loc": ("body", "queries", 0, "k"), "msg": "Input should be an integer"}
        >>> describe_problems([problem])
        'queries[0].k: Input should be an integer'
    """
    first, more = problems[0], len(problems) - 1
    where = name_place(first)
    message = MESSAGES.get(first.get("type", ""), str(first["msg"]).removeprefix("Value error, "))
    if first.get("type") == UNKNOWN_FIELD and (hint := HINTS.get(str(first["loc"][-1]))):
        message = f"{message}; {hint}"
    parts = [part for part in (place, where, message) if part]
    sentence = ": ".join(parts).encode(errors="replace").decode()[:LONGEST]
    return f"{sentence} (and {more} more)" if more else sentence


def name_place(problem: Mapping[str, Any]) -> str:
    """Write the place of a problem as a path of fields and numbers.

    Parts that aren't fields are left out: pydantic also names the branch of a union, or the
    function that checked a value.

    Example:
        >>> name_place({"loc": ("items", 0, "id", "function-after[f(), str]")})
        'items[0].id'
    """
    location = list(problem["loc"])
    if location[:1] and location[0] in PLACES:
        location = location[1:]
    place = ""
    for part in location:
        if isinstance(part, int):
            place += f"[{part}]"
        elif is_field(part) or (problem.get("type") == UNKNOWN_FIELD and part is location[-1]):
            place += f".{part}"
    return place.lstrip(".")


def is_field(part: str) -> bool:
    """Tell whether a part of a place is a field, not a branch or a function of pydantic's."""
    return part.isidentifier() and part not in BRANCHES


def refuse_problems(problems: Sequence[Mapping[str, Any]], *, place: str = "") -> RefusedError:
    """Describe the refusal of a request whose fields have problems."""
    if problems[0].get("type") == "too_long":
        return beyond_limit(describe_problems(problems[:1], place=place))
    return invalid(describe_problems(problems, place=place))
