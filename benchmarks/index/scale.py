"""Measure what docs/scale.md starts from: bytes an item, codes a second, ids compared, pictures.

- **Scan:** exact search of our flat kind over codes in memory, by size: codes compared a CPU
  second on one thread, so that other jobs on the machine disturb it little.
- **Bytes:** of an item in a code file and in an index folder, by what its id and metadata are.
- **Ids:** keys a second when the ids of all code files are compared, and the memory that takes.
- **Encoding:** pictures and texts a CPU second through `encode_shards`, with the offline encoder.

Run it: `python -m benchmarks.index.scale`
"""

import argparse
import io
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import faiss
import numpy as np
from PIL import Image

from benchmarks.index.flat import uniform_codes
from benchmarks.result_files import RESULTS, write_result
from modalhash.codes import Codes
from modalhash.index import build_index
from modalhash.index.code_files import CodeFile, CodeHead, ids_twice, write_code_file

QUERIES = 32
CAPTION = "a brown dog runs through deep snow beside a wooden fence"
FILES = 10


def scan_rates(sizes: Sequence[int], bits: int, repeats: int, seed: int) -> dict[str, Any]:
    """Measure codes compared a CPU second by size, in batches of `QUERIES` and one by one."""
    faiss.omp_set_num_threads(1)
    rates = {}
    for size in sizes:
        generator = np.random.default_rng(seed)
        codes = uniform_codes(size, bits // 8, generator)
        index = build_index(range(size), codes, bits)
        queries = uniform_codes(QUERIES, bits // 8, generator)
        del codes
        found: dict[str, list[float]] = {"batch": [], "single": []}
        for repeat in range(repeats + 1):
            for name, asked in (("batch", queries), ("single", queries[:1])):
                start = time.process_time()
                index.search(asked, 10)
                if repeat:
                    seconds = time.process_time() - start
                    found[name].append(size * len(asked) / seconds)
        rates[str(size)] = {
            f"{name}_codes_per_cpu_second": median(values) for name, values in found.items()
        }
        print(f"scan of {size:,} x {bits}: {rates[str(size)]}", flush=True)
    return rates


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def index_bytes(codes: Codes, bits: int) -> dict[str, float]:
    """Measure the bytes of an item in an index folder by what its id and metadata are."""
    texts = [f"images/{row:08}.jpg" for row in range(len(codes))]
    known: list[dict[str, Any]] = [{"caption": CAPTION, "year": 2026} for _ in range(len(codes))]
    cases: dict[str, dict[str, Any]] = {
        "integer_ids": {"ids": range(len(codes))},
        "text_ids": {"ids": texts},
        "text_ids_and_metadata": {"ids": texts, "metadata": known},
    }
    measured = {}
    for name, case in cases.items():
        with tempfile.TemporaryDirectory() as place:
            ids = case.pop("ids")
            build_index(ids, codes, bits, folder=Path(place) / "index", **case).close()
            measured[name] = folder_bytes(Path(place)) / len(codes)
        print(f"index with {name}: {measured[name]:.1f} bytes an item", flush=True)
    return measured


def code_file_figures(codes: Codes, bits: int) -> dict[str, float]:
    """Measure the bytes of an item in code files, and how quickly their ids are compared."""
    measured: dict[str, float] = {}
    for kind in ("integer", "text"):
        with tempfile.TemporaryDirectory() as place:
            paths = []
            for number, part in enumerate(np.array_split(np.arange(len(codes)), FILES)):
                ids: Any = part if kind == "integer" else [f"images/{row:08}.jpg" for row in part]
                head = CodeHead(bits, "", {"name": str(number)}, 0, 0)
                content = CodeFile.of(
                    head, ids, np.arange(len(part)), image_codes=codes[part], text_codes=None,
                    text_ends=None,
                )  # fmt: skip
                paths.append(Path(place) / str(number))
                write_code_file(paths[-1], content)
            measured[f"{kind}_ids_bytes_per_item"] = folder_bytes(Path(place)) / len(codes)
            start = time.process_time()
            assert not list(ids_twice(paths))
            seconds = time.process_time() - start
            measured[f"{kind}_ids_compared_per_cpu_second"] = len(codes) / seconds
    print(f"code files: {measured}", flush=True)
    return measured


def encoding_rates(pictures: int, seed: int) -> dict[str, float]:
    """Measure items a CPU second through `encode_shards`, with the offline encoder."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    import modalhash as mh

    torch.set_num_threads(1)
    generator = np.random.default_rng(seed)
    images = []
    for _ in range(pictures):
        coarse = generator.integers(0, 256, (14, 14, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((224, 224)).save(buffer, "JPEG", quality=90)
        images.append(buffer.getvalue())
    rates = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = mh.train(
            "scenes:60", output=folder / "run", method="random", n_bits=64, encoder="offline",
            cache=folder / "cache", device="cpu",
        )  # fmt: skip
        ids = [str(row) for row in range(pictures)]
        pq.write_table(pa.table({"id": ids, "image": images}), folder / "image.parquet")
        texts = [f"{CAPTION} {row}" for row in range(4 * pictures)]
        table = pa.table({"id": [str(row) for row in range(len(texts))], "text": texts})
        pq.write_table(table, folder / "text.parquet")
        for side, n_items in (("image", pictures), ("text", len(texts))):
            shard = folder / f"{side}.parquet"
            mh.encode_shards(model, shard, folder / f"{side}.warm", device="cpu")
            start = time.process_time()
            mh.encode_shards(model, shard, folder / side, device="cpu")
            seconds = time.process_time() - start
            rates[f"{side}s_per_cpu_second"] = n_items / seconds
    print(f"encoding: {rates}", flush=True)
    return rates


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", default="1000000,10000000,100000000", help="of the scan")
    parser.add_argument("--items", type=int, default=1_000_000, help="of the files")
    parser.add_argument("--pictures", type=int, default=256, help="0 leaves encoding out")
    parser.add_argument("--bits", type=int, default=64, help="a multiple of 8")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="default: a file in benchmarks/results")
    options = parser.parse_args(arguments)
    codes = uniform_codes(options.items, options.bits // 8, np.random.default_rng(options.seed))
    results: dict[str, Any] = {
        "code_files": code_file_figures(codes, options.bits),
        "index_bytes_per_item": index_bytes(codes, options.bits),
    }
    if options.pictures:
        results["encoding"] = encoding_rates(options.pictures, options.seed)
    sizes = [int(size) for size in options.sizes.split(",")]
    results["scan"] = scan_rates(sizes, options.bits, options.repeats, options.seed)
    results["peak_resident_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    output = options.output or RESULTS / f"index-scale-{options.bits}.json"
    write_result(output, "index.scale", vars(options), results)


if __name__ == "__main__":
    main()
