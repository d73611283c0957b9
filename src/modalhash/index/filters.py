r"""The filter language: a small, safe way to say which items count.

::

    year >= 2020 and tag in ("dog", "cat")
    "snow" in tags and not (place like "North%")
    score is null or camera.maker == "Leica"
    taken >= 2021-07 and not taken in 2022

- A *field* is a name in an item's metadata; `a.b` is the entry `b` of the mapping `a`; a name with
  other characters stands in backticks: `` `Exif ISO` ``.
- `== != < <= > >=` compare a field with a text ("..." or '...', with backslash escapes), a number,
  `true` or `false`. Texts are in the order of their code points; numbers of both sorts compare.
- A date without quotes (YYYY-MM, YYYY-MM-DD, YYYY-MM-DDTHH:MM:SS) is a period of time, beside texts
  that are dates in ISO form: `==` holds in it, `<` before it, `<=` before it or in it, `>` after
  it. So is a year beside the field `taken`, and what stands behind `in`, beside any field:
  `day in 2021`, `day in 2021-07`.
- `field between a and b` holds from a to b, both included, for numbers, texts and dates.
- `field in (value, ...)` holds for a field that equals one of the values; `value in field` for a
  field that is a list with that value.
- `field like "pattern"`: `%` stands for any characters, `_` for one, `\%` for itself; upper and
  lower case differ.
- `field is null` holds where the field is missing or null; `field is not null` elsewhere.
- `and`, `or`, `not` and parentheses; `not` binds closest, then `and`.

A comparison with a field that is missing, null or of another type doesn't hold, so its negation
does: `year != 2020` and `not year == 2020` say the same, and hold for items without a year. The
result is True or False for every item, never something third.

A filter becomes a tree of tests. Nothing of it is ever put into a query's text: fields and values
travel as parameters.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from modalhash.errors import FilterError, InputError
from modalhash.index.filter_dates import (
    DATE_FORM,
    DatePeriod,
    compare_with_period,
    is_year_of,
    read_period,
)
from modalhash.index.filter_tree import (
    And,
    Compare,
    Contains,
    Field,
    Filter,
    IsIn,
    IsNull,
    Like,
    Not,
    Or,
    Value,
    sort_of,
)

__all__ = ["parse_filter"]

MAX_LENGTH: Final = 1 << 16
MAX_DEPTH: Final = 100
MAX_INTEGER: Final = 2**63


def parse_filter(text: str) -> Filter:
    """Read a filter.

    Args:
        text: see the module's text.

    Raises:
        FilterError: if it can't be understood, marking the place.

    Example:
        >>> parse_filter('year >= 2020 and not tag in ("dog", "cat")')  # doctest: +ELLIPSIS
        And(terms=(Compare(field=('year',), operator='>=', value=2020), Not(term=IsIn(...))))
        >>> parse_filter("year >= ")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        modalhash.errors.FilterError: the filter can't be understood at character 9: ...
    """
    if not isinstance(text, str):
        raise InputError(f"where is of type {type(text).__name__}, expected a text")
    if len(text) > MAX_LENGTH:
        raise FilterError(text[:60], 0, f"it has {len(text)} characters, {MAX_LENGTH} are the most")
    return Parser(text).parse()


TOKEN = re.compile(
    r"""\s*(?:
      (?P<date>\d{4}-\d[\w:-]*)
    | (?P<number>-?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)(?![\w.])
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<quoted>`[^`]*`)
    | (?P<word>[^\W\d]\w*)
    | (?P<sign>==|!=|<=|>=|<|>|=|\(|\)|,|\.)
    | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
WORDS = frozenset({"and", "or", "not", "in", "like", "is", "null", "true", "false"})
COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
UNNAMED = frozenset({'"', "\\", *map(chr, range(32))})
LIKE_ESCAPES = "%_\\"
ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True)
class Token:
    """A word of a filter.

    Attributes:
        kind: `number`, `date`, `text`, `name`, `end`; of signs and keywords the sign or word
            itself.
        value: the number, the period of a date, the name, or what stands between the quotes of a
            text.
        start: where it begins.
        end: where it ends.
    """

    kind: str
    value: Any
    start: int
    end: int


class Parser:
    """Reads a filter by descent: or, and, not, test.

    Args:
        text: the filter.
    """

    def __init__(self, text: str) -> None:
        self.text, self.depth = text, 0
        self.tokens = list(self.tokenize())
        self.place = 0

    def tokenize(self) -> Iterator[Token]:
        """Yield the tokens; the last is of kind `end`."""
        position = 0
        while True:
            match = TOKEN.match(self.text, position)
            if match is None:
                position += len(self.text[position:]) - len(self.text[position:].lstrip())
                self.refuse_character(position)
            kind = match.lastgroup
            assert kind is not None
            raw, start, position = match[kind], match.start(kind), match.end()
            yield self.token(kind, raw, start, position)
            if kind == "end":
                return

    def token(self, kind: str, raw: str, start: int, end: int) -> Token:
        """Read one token with its value."""
        match kind:
            case "number":
                value: Any = self.number(raw, start)
            case "date":
                value = read_period(raw)
                if value is None:
                    self.refuse(start, f"{raw} is no date: write {DATE_FORM}")
            case "quoted":
                kind, value = "name", raw[1:-1]
                if not value or any(character in UNNAMED for character in value):
                    self.refuse(start, f'{raw} is no name: it is empty, or holds ", \\ or a tab')
            case "word":
                is_keyword = raw.lower() in WORDS
                kind, value = (raw.lower() if is_keyword else "name"), raw
            case "sign":
                kind, value = ("==" if raw == "=" else raw), None
            case _:
                value = raw[1:-1]
        return Token(kind, value, start, end)

    def number(self, raw: str, start: int) -> int | float:
        """Read a number."""
        value = int(raw) if raw.lstrip("-").isdigit() else float(raw)
        if isinstance(value, int) and not -MAX_INTEGER <= value < MAX_INTEGER:
            self.refuse(start, f"{raw} is beyond 64 bits")
        if value in (float("inf"), float("-inf")):
            self.refuse(start, f"{raw} is too large")
        return value

    def text_of(self, token: Token, *, is_pattern: bool = False) -> str:
        """Read the characters of a text; a pattern keeps what is escaped for `like`."""

        def replaced(match: re.Match[str]) -> str:
            character = match[1]
            is_kept = is_pattern and character in LIKE_ESCAPES
            return match[0] if is_kept else ESCAPES.get(character, character)

        text = re.sub(r"\\(.)", replaced, token.value, flags=re.DOTALL)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.refuse(token.start, "the text is no valid Unicode")
        return text

    def refuse(self, position: int, problem: str) -> NoReturn:
        """Raise the error of a place."""
        raise FilterError(self.text, position, problem)

    def refuse_character(self, position: int) -> NoReturn:
        """Raise the error of what no token begins with."""
        character = self.text[position]
        if character in "\"'`":
            self.refuse(position, f"the text that begins with {character} has no end")
        if character.isdigit() or character in "-.":
            self.refuse(position, "this is no number")
        self.refuse(position, f"{character!r} has no meaning here")

    def refuse_token(self, expected: str) -> NoReturn:
        """Raise the error of an unexpected token."""
        token = self.tokens[self.place]
        came = "the end" if token.kind == "end" else repr(self.text[token.start : token.end])
        self.refuse(token.start, f"expected {expected}, not {came}")

    @property
    def kind(self) -> str:
        """The kind of the next token."""
        return self.tokens[self.place].kind

    def take(self) -> Token:
        """Read the next token and go on."""
        self.place += 1
        return self.tokens[self.place - 1]

    def takes(self, kind: str) -> bool:
        """Go on if the next token is of that kind, and say whether."""
        if self.kind != kind:
            return False
        self.place += 1
        return True

    def parse(self) -> Filter:
        """Read the whole filter."""
        if self.kind == "end":
            self.refuse(len(self.text), "it is empty")
        tree = self.any_of()
        if self.kind != "end":
            self.refuse_token("and, or, or the end")
        return tree

    def any_of(self) -> Filter:
        """Read terms between `or`."""
        terms = [self.all_of()]
        while self.takes("or"):
            terms.append(self.all_of())
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def all_of(self) -> Filter:
        """Read terms between `and`."""
        terms = [self.term()]
        while self.takes("and"):
            terms.append(self.term())
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def term(self) -> Filter:
        """Read `not TERM`, `(FILTER)` or a test."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.refuse(self.tokens[self.place].start, f"it is nested over {MAX_DEPTH} deep")
        if self.takes("not"):
            tree: Filter = Not(self.term())
        elif self.takes("("):
            tree = self.any_of()
            if not self.takes(")"):
                self.refuse_token("a closing )")
        elif self.kind == "date":
            self.refuse_token("a field before a date, as in taken >= 2021-07")
        elif self.kind in {"text", "number", "true", "false"}:
            tree = self.contains()
        elif self.kind == "name":
            tree = self.test()
        else:
            self.refuse_token("a field, a value, not, or (")
        self.depth -= 1
        return tree

    def contains(self) -> Filter:
        """Read `value in field` or `value not in field`."""
        value = self.value()
        is_negated = self.takes("not")
        if not self.takes("in"):
            self.refuse_token("in and a field (a comparison begins with the field)")
        test = Contains(self.field(), value)
        return Not(test) if is_negated else test

    def test(self) -> Filter:
        """Read what begins with a field."""
        field = self.field()
        if self.kind in COMPARISONS:
            operator = self.take().kind
            if self.kind == "null":
                self.refuse_token("a value (for null: is null)")
            constant = self.constant(field)
            if operator == "!=":
                return Not(comparison(field, "==", constant))
            return comparison(field, operator, constant)
        if self.takes("is"):
            is_negated = self.takes("not")
            if not self.takes("null"):
                self.refuse_token("null")
            return Not(IsNull(field)) if is_negated else IsNull(field)
        is_negated = self.takes("not")
        if self.takes("in"):
            leaf = self.period_or_values(field)
        elif self.takes_between():
            leaf = self.between(field)
        elif self.takes("like"):
            if self.kind != "text":
                self.refuse_token('a pattern in quotes, such as "North%"')
            leaf = Like(field, self.text_of(self.take(), is_pattern=True))
        else:
            others = "in, like or between"
            self.refuse_token(others if is_negated else f"a comparison, {others}, or is null")
        return Not(leaf) if is_negated else leaf

    def field(self) -> Field:
        """Read a field."""
        if self.kind != "name":
            self.refuse_token("a field")
        names = [self.take().value]
        while self.takes("."):
            if self.kind != "name":
                self.refuse_token("a name after the dot")
            names.append(self.take().value)
        return tuple(names)

    def takes_between(self) -> bool:
        """Go on if the next token is the word `between`, which may also be a field's name."""
        token = self.tokens[self.place]
        return self.text[token.start : token.end].lower() == "between" and self.takes("name")

    def between(self, field: Field) -> Filter:
        """Read `LOW and HIGH`, which a field lies between; both are included."""
        first = self.tokens[self.place]
        low = self.constant(field)
        if not self.takes("and"):
            self.refuse_token("and, with the upper bound")
        high = self.constant(field)
        if constant_sort(low) != constant_sort(high):
            self.refuse(first.start, "the bounds of between must be of one sort")
        return And((comparison(field, ">=", low), comparison(field, "<=", high)))

    def period_or_values(self, field: Field) -> Filter:
        """Read what stands behind `in`: a period of time, or values in parentheses."""
        token = self.tokens[self.place]
        if token.kind == "date":
            return comparison(field, "==", self.take().value)
        if token.kind == "number":
            period = read_period(self.text[token.start : token.end])
            if period is None:
                self.refuse(token.start, f"in needs a date or values in (): write {DATE_FORM}")
            self.take()
            return comparison(field, "==", period)
        constants = self.constants(field)
        values = tuple(value for value in constants if not isinstance(value, DatePeriod))
        terms: list[Filter] = [IsIn(field, values)] if values else []
        terms += [
            comparison(field, "==", value) for value in constants if isinstance(value, DatePeriod)
        ]
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def constants(self, field: Field) -> list[Value | DatePeriod]:
        """Read values and dates in parentheses."""
        if not self.takes("("):
            self.refuse_token("( and values, or a date")
        constants = [self.constant(field)]
        while self.takes(","):
            if self.kind == ")":
                break
            constants.append(self.constant(field))
        if not self.takes(")"):
            self.refuse_token("a comma or a closing )")
        return constants

    def constant(self, field: Field) -> Value | DatePeriod:
        """Read a value or a date, that a field is compared with."""
        if self.kind == "date":
            period: DatePeriod = self.take().value
            return period
        value = self.value()
        return DatePeriod(str(value)) if is_year_of(field, value) else value

    def value(self) -> Value:
        """Read a value."""
        if self.kind not in {"number", "text", "true", "false"}:
            self.refuse_token('a value: a number, "text", true or false')
        token = self.take()
        match token.kind:
            case "number":
                number: int | float = token.value
                return number
            case "text":
                return self.text_of(token)
        return token.kind == "true"


def comparison(field: Field, operator: str, constant: Value | DatePeriod) -> Filter:
    """Write the comparison of a field with a value or a date."""
    if isinstance(constant, DatePeriod):
        return compare_with_period(field, operator, constant)
    return Compare(field, operator, constant)


def constant_sort(constant: Value | DatePeriod) -> str:
    """Name the sort of a value or date."""
    return "date" if isinstance(constant, DatePeriod) else sort_of(constant)
