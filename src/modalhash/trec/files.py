"""Run and qrels files of TREC, line by line.

A run names the documents that were found, `QUERY Q0 DOCUMENT RANK SCORE TAG`; qrels say which are
relevant, `QUERY 0 DOCUMENT GRADE`. Fields are separated by spaces or tabs.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from modalhash.errors import InputError, StorageError
from modalhash.files import open_regular_file

__all__ = ["TrecRun", "read_qrels", "read_run", "write_name"]

RUN_FIELDS = "QUERY Q0 DOCUMENT RANK SCORE TAG"
QRELS_FIELDS = "QUERY 0 DOCUMENT GRADE"


@dataclass(frozen=True)
class TrecRun:
    """What a run found.

    Attributes:
        rankings: query to its documents, best first: by the rank in the file; of equal ranks the
            line that comes first. Scores don't move a document.
        tag: the name of the run in the file.
        n_tied: queries of which two documents have one score.
        n_rising: queries of which a document has a larger score than one of a better rank.
    """

    rankings: Mapping[str, tuple[str, ...]]
    tag: str
    n_tied: int
    n_rising: int


def read_run(path: Path | str) -> TrecRun:
    """Read a run, with its ranks as they stand.

    Args:
        path: of the file.

    Raises:
        InputError: if there is no such file, it is empty, a line hasn't six fields, a rank is no
            whole number or a score no number, or a query has a document twice; naming the line.
        StorageError: if it can't be read.
    """
    lines: dict[str, list[tuple[int, float, str]]] = {}
    names: dict[str, set[str]] = {}
    tag = ""
    for number, fields in read_fields(Path(path), RUN_FIELDS):
        query, _, document, rank_text, score_text, tag = fields
        try:
            rank, score = int(rank_text), float(score_text)
        except ValueError:
            refuse_line(path, number, f"rank {rank_text!r} and score {score_text!r} aren't numbers")
        if math.isnan(score):
            refuse_line(path, number, "the score is NaN, which has no order")
        known = names.setdefault(query, set())
        if document in known:
            refuse_line(path, number, f"query {query} has the document {document} a second time")
        known.add(document)
        lines.setdefault(query, []).append((rank, score, document))
    n_tied = n_rising = 0
    for entries in lines.values():
        entries.sort(key=lambda entry: entry[0])
        scores = [score for _, score, _ in entries]
        n_tied += len(set(scores)) < len(scores)
        n_rising += any(after > before for before, after in pairwise(scores))
    rankings = {
        query: tuple(document for _, _, document in entries) for query, entries in lines.items()
    }
    return TrecRun(rankings, tag, n_tied, n_rising)


def read_qrels(path: Path | str) -> dict[str, dict[str, int]]:
    """Read judgements: query to document to grade; above 0 is relevant.

    Args:
        path: of the file.

    Raises:
        InputError: if there is no such file, it is empty, a line hasn't four fields, a grade is no
            whole number, or a document is judged twice; naming the line.
        StorageError: if it can't be read.
    """
    judgements: dict[str, dict[str, int]] = {}
    for number, fields in read_fields(Path(path), QRELS_FIELDS):
        query, _, document, grade = fields
        of_query = judgements.setdefault(query, {})
        if document in of_query:
            refuse_line(path, number, f"query {query} judges the document {document} twice")
        try:
            of_query[document] = int(grade)
        except ValueError:
            refuse_line(path, number, f"the grade {grade!r} is no whole number")
    return judgements


def read_fields(path: Path, form: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the fields of each line; empty lines are passed over.

    Raises:
        InputError: if the file isn't there, is empty or no text, or a line has other fields.
        StorageError: if it can't be read.
    """
    n_fields, is_empty = len(form.split()), True
    try:
        with open_regular_file(path) as file:
            for number, line in enumerate(file, 1):
                fields = line.decode("utf-8-sig" if number == 1 else "utf-8").split()
                if not fields:
                    continue
                if len(fields) != n_fields:
                    refuse_line(path, number, f"{len(fields)} fields, expected {form}")
                is_empty = False
                yield number, fields
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} isn't UTF-8: {error}") from error
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror or error}") from error
    if is_empty:
        raise InputError(f"{path} is empty, expected lines of {form}")


def refuse_line(path: Path | str, number: int, problem: str) -> NoReturn:
    """Refuse a line of a file.

    Raises:
        InputError: naming the line.
    """
    raise InputError(f"{path}:{number}: {problem}")


def write_name(identity: object) -> str:
    """Write an id as one field: white space and % become %XX, as in addresses.

    Example:
        >>> write_name("my dog.jpg"), write_name(7)
        ('my%20dog.jpg', '7')
    """
    return "".join(
        "".join(f"%{byte:02X}" for byte in letter.encode())
        if letter.isspace() or letter == "%"
        else letter
        for letter in str(identity)
    )
