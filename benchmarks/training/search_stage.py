"""Encode the pictures of made pairs, index their codes, and search them with held-out texts."""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.training.cost import MappedTable
from modalhash.codes import Codes
from modalhash.index import build_index, open_index
from modalhash.machine import forget_peak, peak_mib

if TYPE_CHECKING:
    from modalhash.methods.hasher import HashTower

BLOCK = 4096
N_QUERIES, BATCH = 1000, 32
CUT_OFFS = (10, 100)


def search_once(
    image: "HashTower", text: "HashTower", folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Encode all pictures and the first held-out texts, index the pictures, search with the texts.

    Returns:
        CPU seconds and peak memory of each part, bytes of the index, and the share of texts whose
        own picture is among the nearest, of all pictures there are.
    """
    figures: dict[str, Any] = {}
    table = MappedTable(folder, "image", with_tokens=False)
    n_trained = len(table) - options.held_out
    own = np.arange(n_trained, n_trained + min(N_QUERIES, options.held_out))
    with measured("encode", figures):
        codes = encode_rows(image, table, np.arange(len(table)))
    queries = encode_rows(text, MappedTable(folder, "text", with_tokens=False), own)
    path = folder / "pictures.index"
    with measured("index", figures):
        build_index(np.arange(len(codes)), codes, options.bits, folder=path)
    figures["index_bytes"] = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    del codes
    with open_index(path) as index:
        index.search(queries[:1], k=CUT_OFFS[0])  # the first search reads the codes
        with measured("search_one_by_one", figures):
            for row in range(len(queries)):
                index.search(queries[row : row + 1], k=CUT_OFFS[0])
        with measured("search_in_batches", figures):
            ids = np.concatenate(
                [
                    index.search(queries[start : start + BATCH], k=CUT_OFFS[-1]).ids
                    for start in range(0, len(queries), BATCH)
                ]
            )
    for cut_off in CUT_OFFS:
        is_hit = (ids[:, :cut_off].astype(np.int64) == own[:, None]).any(axis=1)
        figures[f"recall_at_{cut_off}_of_all"] = round(float(is_hit.mean()), 4)
    return {"pictures": len(table), "queries": len(own)} | figures


def encode_rows(tower: "HashTower", table: MappedTable, rows: "np.typing.NDArray[Any]") -> Codes:
    """Encode some rows of a table, block by block."""
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    return np.concatenate([tower.encode(table.pooled(block)) for block in blocks])


@contextmanager
def measured(part: str, figures: dict[str, Any]) -> Iterator[None]:
    """Note the CPU seconds and the peak memory of what runs inside."""
    forget_peak()
    started = time.process_time()
    yield
    figures[f"{part}_cpu_seconds"] = round(time.process_time() - started, 2)
    figures[f"{part}_peak_mib"] = round(peak_mib(), 1)
