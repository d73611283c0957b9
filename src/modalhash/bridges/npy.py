"""A plain NumPy array of packed codes, with ids and metadata beside it.

`modalhash import` reads such a folder again.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from modalhash.bridges.contents import Content, Written
from modalhash.bridges.folders import write_lines
from modalhash.bridges.item_lines import ITEMS, item_lines
from modalhash.files import write_with

__all__ = ["CODES", "write"]

CODES: Final = "codes.npy"
GUIDE: Final = """\
`codes.npy` is ({n_items}, {n_bytes}) uint8; line i of `items.jsonl`, counted from 0, is the item of
row i.

```python
import numpy as np

codes = np.load("codes.npy", mmap_mode="r")
bits = np.unpackbits(codes[:1], axis=1, count={n_bits}, bitorder="little")  # 1 means +1
```

`modalhash import` makes an index of this folder.
"""


def write(folder: Path, content: Content) -> Written:
    """Write `codes.npy` and `items.jsonl`, never with more than a block in memory."""
    n_items, width = 0, content.n_padded // 8

    def lines(codes: IO[bytes]) -> Iterator[bytes]:
        nonlocal n_items
        for keys, block in content.keyed_blocks(lowest=-(2**63)):
            codes.write(np.ascontiguousarray(block.codes).data)
            n_items += len(block)
            yield from item_lines(keys, block)

    def write_both(codes: IO[bytes]) -> None:
        write_header(codes, 0, width)
        start = codes.tell()
        write_lines(folder / ITEMS, lines(codes))
        codes.seek(0)
        write_header(codes, n_items, width)  # NumPy leaves room for the number of rows to grow
        assert codes.tell() == start

    write_with(folder / CODES, write_both)
    guide = GUIDE.format(n_items=n_items, n_bytes=width, n_bits=content.n_bits)
    return Written((CODES, ITEMS), {"distance": "hamming"}, guide)


def write_header(file: Any, n_rows: int, width: int) -> None:
    """Write the head of an array file of (n_rows, width) bytes."""
    shape = {"descr": "|u1", "fortran_order": False, "shape": (n_rows, width)}
    np.lib.format.write_array_header_1_0(file, shape)
