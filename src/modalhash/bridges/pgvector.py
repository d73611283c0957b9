"""A script for PostgreSQL with pgvector: a table with a `bit(n)` column, its rows, an HNSW index.

Character j of a bit string, from the left, is bit j of the code. Without pgvector the table and its
rows load as well; `bit_count(code # query)` is then the distance, by a scan.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from modalhash.bridges.contents import Content, Written
from modalhash.bridges.folders import as_json, write_lines
from modalhash.bridges.forms import bit_strings
from modalhash.errors import InputError

__all__ = ["write"]

LOAD, QUERY = "load.sql", "query.sql"
MOST_BITS: Final = 64_000
"""Bits that pgvector's HNSW takes."""
COPY_ESCAPES: Final = str.maketrans(
    {"\\": r"\\", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}
)
HEAD: Final = """\
-- Codes of {n_bits} bits from modalhash, for PostgreSQL with pgvector 0.7 or newer.
-- Load them with psql: psql DATABASE -f load.sql
-- Character j of a code, from the left and counted from 0, is its bit j; 1 means +1.
\\set ON_ERROR_STOP on
SET client_encoding = 'UTF8';
BEGIN;
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE "{name}" (
    id {id_type} PRIMARY KEY,
    code bit({n_bits}) NOT NULL,
    metadata jsonb NOT NULL
);
COPY "{name}" (id, code, metadata) FROM STDIN;
"""
TAIL: Final = """\
\\.
CREATE INDEX "{name}_code" ON "{name}" USING hnsw (code bit_hamming_ops);
COMMIT;
ANALYZE "{name}";
"""
QUERY_TEXT: Final = """\
-- The 10 nearest items: psql DATABASE -v code={zeros} -f query.sql
-- HNSW is approximate; `SET hnsw.ef_search = 200;` finds more, and with a WHERE
-- `SET hnsw.iterative_scan = strict_order;` (pgvector 0.8) goes on until enough rows pass.
-- `SET enable_indexscan = off;` compares every code.
SELECT id, (code <~> CAST(:'code' AS bit({n_bits})))::int AS distance, metadata
FROM "{name}"
ORDER BY code <~> CAST(:'code' AS bit({n_bits}))
LIMIT 10;
"""
GUIDE: Final = """\
```
psql DATABASE -f load.sql
psql DATABASE -v code={zeros} -f query.sql
```

`load.sql` makes the extension `vector` and a table `{name}` (`id`, `code bit({n_bits})`, `metadata
jsonb`), copies the rows and indexes the codes, in one transaction. `code <~> query` is the Hamming
distance. `modalhash.bridges.bit_strings` spells packed codes as bit strings:

```python
from modalhash.bridges import bit_strings

bit_strings(model.encode_texts(["a dog in the snow"]), {n_bits})
```
"""


def write(folder: Path, content: Content) -> Written:
    """Write `load.sql` and `query.sql`; see `Written`.

    Raises:
        InputError: if a text has a NUL character, which PostgreSQL doesn't store, or codes are
            longer than pgvector indexes.
    """
    if content.n_bits > MOST_BITS:
        raise InputError(f"codes have {content.n_bits} bits, pgvector indexes up to {MOST_BITS}")
    filled = {
        "name": content.name,
        "n_bits": content.n_bits,
        "id_type": "text" if content.has_text_ids else "bigint",
        "zeros": "0" * content.n_bits,
    }

    def lines() -> Iterator[bytes]:
        yield HEAD.format(**filled).encode()
        for block in content.source.blocks():
            ids: list[Any] = block.ids.tolist()
            codes = bit_strings(block.codes, content.n_bits)
            for value, code, metadata in zip(ids, codes, block.metadata, strict=True):
                yield copy_row(value, code, metadata)
        yield TAIL.format(**filled).encode()

    write_lines(folder / LOAD, lines())
    write_lines(folder / QUERY, [QUERY_TEXT.format(**filled).encode()])
    about = {"column": f"bit({content.n_bits})", "distance": "code <~> query"}
    return Written((LOAD, QUERY), about, GUIDE.format(**filled))


def copy_row(value: str | int, code: str, metadata: Any) -> bytes:
    r"""Format a line of COPY's text format.

    Raises:
        InputError: if a text has a NUL character, naming the item.

    Example:
        >>> copy_row("a\tb", "01", {"path": "c\\d"})
        b'a\\tb\t01\t{"path":"c\\\\\\\\d"}\n'
    """
    document = as_json(metadata).decode()
    if "\0" in str(value) or holds_nul(metadata):
        raise InputError(
            f"item {value!r} has a NUL character in its id or metadata, which PostgreSQL doesn't "
            "store: upsert it without"
        )
    cells = (str(value).translate(COPY_ESCAPES), code, document.translate(COPY_ESCAPES))
    return "\t".join(cells).encode() + b"\n"


def holds_nul(value: Any) -> bool:
    """Tell whether a text in a JSON value has a NUL character."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(map(holds_nul, value)) or any(map(holds_nul, value.values()))
    return isinstance(value, list) and any(map(holds_nul, value))
