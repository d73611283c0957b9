"""A FAISS file: `IndexBinaryIDMap2` over `IndexBinaryFlat`.

Of all binary indexes of FAISS this pair is the one that keeps ids through removals: under a map,
an IVF index answers with wrong ids after a removal, and HNSW and hash indexes can't remove.
FAISS has no texts, so ids and metadata stand in `items.jsonl`.
"""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

from modalhash.bridges.contents import Content, Written
from modalhash.bridges.folders import write_lines
from modalhash.bridges.item_lines import ITEMS, item_lines
from modalhash.files import write_with

__all__ = ["write"]

CODES: Final = "codes.faiss"
GUIDE: Final = """\
`codes.faiss` is an `IndexBinaryIDMap2` over an `IndexBinaryFlat`: exact, distances are Hamming
distances. Its ids are the keys of `items.jsonl`.

```python
import faiss
import numpy as np

index = faiss.read_index_binary("codes.faiss")
queries = np.zeros((1, {n_bytes}), np.uint8)  # packed codes, as model.encode_texts gives them
distances, keys = index.search(queries, 10)
```

FAISS notices a file that was cut short but not a changed one: `export.json` has its SHA-256.
"""


def write(folder: Path, content: Content) -> Written:
    """Write `codes.faiss` and `items.jsonl`; see `Written`.

    The codes are held once in memory, and eight bytes an item for its key.

    Raises:
        InputError: if an id is negative: FAISS answers -1 where it found nothing.
    """
    faiss: Any = import_module("faiss")  # its types don't know the writer
    width = content.n_padded // 8
    flat = faiss.IndexBinaryFlat(8 * width)
    index = faiss.IndexBinaryIDMap2(flat)
    flat.xb.resize(content.source.n_items * width)
    keys = np.empty(content.source.n_items, np.int64)
    n_items = 0

    def lines() -> Iterator[bytes]:
        nonlocal keys, n_items
        for block_keys, block in content.keyed_blocks():
            end = n_items + len(block)
            if end > len(keys):  # an index on a server may grow meanwhile
                keys = np.resize(keys, end)
                flat.xb.resize(end * width)
            keys[n_items:end] = block_keys
            rows = faiss.rev_swig_ptr(flat.xb.data(), flat.xb.size()).reshape(-1, width)
            rows[n_items:end] = block.codes
            n_items = end
            yield from item_lines(block_keys, block)

    write_lines(folder / ITEMS, lines())
    flat.xb.resize(n_items * width)
    flat.ntotal = n_items
    faiss.copy_array_to_vector(keys[:n_items], index.id_map)  # no table of places: less memory
    index.ntotal = n_items
    write_with(
        folder / CODES,
        lambda file: faiss.write_index_binary(index, faiss.PyCallbackIOWriter(file.write)),
    )
    about = {"index": "IndexBinaryIDMap2(IndexBinaryFlat)", "distance": "hamming"}
    return Written((CODES, ITEMS), about, GUIDE.format(n_bytes=width))
