"""A USearch file: an HNSW graph over `b1` vectors, metric Hamming.

USearch has neither texts nor filters, so ids and metadata stand in `items.jsonl`. Building the
graph takes about a minute or two of one core a million codes, and all of it is in memory.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from modalhash.bridges.contents import Content, Written
from modalhash.bridges.folders import write_lines
from modalhash.bridges.item_lines import ITEMS, item_lines
from modalhash.extras import import_optional
from modalhash.index.folder import flush_file

__all__ = ["write"]

CODES: Final = "codes.usearch"
GUIDE: Final = """\
`codes.usearch` is an HNSW graph over `b1` vectors of {n_padded} bits, metric Hamming: approximate,
the distances it gives are true. Its keys are those of `items.jsonl`.

```python
import numpy as np
from usearch.index import Index

index = Index.restore("codes.usearch")
query = np.zeros({n_bytes}, np.uint8)  # a packed code, as model.encode_texts gives them
matches = index.search(query, 10)  # matches.keys, matches.distances
```

`exact=True` compares every code, and keeps a candidate for each: ask few queries at a time.
"""


def write(folder: Path, content: Content) -> Written:
    """Write `codes.usearch` and `items.jsonl`; see `Written`.

    Raises:
        InputError: if an id is negative: USearch has unsigned keys.
        MissingExtraError: if usearch isn't installed.
    """
    usearch = import_optional("usearch.index", extra="usearch", feature="an export to USearch")
    index: Any = usearch.Index(ndim=content.n_padded, metric="hamming", dtype="b1")

    def lines() -> Iterator[bytes]:
        for keys, block in content.keyed_blocks():
            index.add(keys.astype(np.uint64), np.ascontiguousarray(block.codes))
            yield from item_lines(keys, block)

    write_lines(folder / ITEMS, lines())
    index.save(str(folder / CODES))
    flush_file(folder / CODES)
    about = {"index": "HNSW", "dtype": "b1", "metric": "hamming", "distance": "hamming"}
    guide = GUIDE.format(n_padded=content.n_padded, n_bytes=content.n_padded // 8)
    return Written((CODES, ITEMS), about, guide)
