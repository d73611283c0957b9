"""An export from somebody else: whatever its manifest says, it is damage."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from modalhash.bridges.exporting import EXPORT_MANIFEST, export_codes
from modalhash.bridges.importing import items_of_export
from modalhash.errors import ModalhashError
from modalhash.files import sealed
from modalhash.index import build_index

ODD: tuple[Any, ...] = (None, True, -1, 1.5, "x", [], {}, [None], ...)


def test_any_value_of_the_manifest_may_be_odd(tmp_path: Path) -> None:
    index = build_index(["a", "b"], np.array([[1, 2], [3, 4]], np.uint8), 16)
    export_codes(index, "npy", tmp_path / "out")
    assert items_of_export(tmp_path / "out").ids == ["a", "b"]
    path = tmp_path / "out" / EXPORT_MANIFEST
    document = json.loads(path.read_text())
    for name in document:
        for value in ODD:
            changed = {key: part for key, part in document.items() if key != name}
            changed |= {} if value is ... else {name: value}
            path.write_text(json.dumps(sealed(changed)))
            with suppress(ModalhashError):
                items_of_export(tmp_path / "out")
