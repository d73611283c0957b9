"""The table of kinds, and what importing the room costs."""

import re
import subprocess
import sys

import numpy as np
import pytest

from modalhash.errors import UnknownNameError
from modalhash.index import INDEX_CLASSES, KINDS, build_index, check_kind
from modalhash.index.searcher_table import searcher_class
from modalhash.index.searchers import Searcher


def test_every_kind_is_a_searcher_that_knows_its_name() -> None:
    for kind in KINDS:
        assert issubclass(searcher_class(kind), Searcher)
        assert searcher_class(kind).kind == kind


def test_the_default_kind_is_flat() -> None:
    assert build_index([1], np.zeros((1, 1), np.uint8), 8).kind == "flat"


def test_an_unknown_kind_lists_the_known() -> None:
    known = ", ".join(sorted([*KINDS, *INDEX_CLASSES]))
    message = f"unknown kind of index 'flatt': did you mean 'flat'? Known: {known}"
    with pytest.raises(UnknownNameError, match=f"^{re.escape(message)}$"):
        build_index([], np.empty((0, 1), np.uint8), 8, kind="flatt")
    with pytest.raises(UnknownNameError, match=f"^{re.escape(message)}$"):
        check_kind("flatt")


def test_importing_the_room_loads_neither_faiss_nor_torch() -> None:
    """And using it loads no torch."""
    script = """
import sys
import modalhash.index as index
assert "faiss" not in sys.modules
import numpy as np
index.build_index([1], np.zeros((1, 1), np.uint8), 8).search(np.zeros((1, 1), np.uint8), 1)
assert "faiss" in sys.modules
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
