"""Write the board of quantisers for the documentation: `bench quantizers`, kept as a result file.

Run it: `python -m benchmarks.quality.quantizers ./flickr8k icons --encoder auto,offline-shared
--parts FOLDER`. The folder keeps what is done; `--kept` measures nothing more, and writes what is
there: rows whose seeds aren't all done have those that are.
"""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from modalhash.benchmarking.quantizer_rows import QuantizerRow, rows_csv
from modalhash.benchmarking.quantizer_searches import QueryValues
from modalhash.benchmarking.quantizer_table import find_verdicts
from modalhash.benchmarking.quantizer_tasks import NESTED
from modalhash.benchmarking.quantizing import (
    QUANTIZERS,
    describe_counts,
    keep_spaces,
    make_tasks,
    read_result,
    run_tasks,
)
from modalhash.benchmarking.sign_quantizers import SIGN_QUANTIZERS
from modalhash.files import write_json, write_text
from modalhash.machine import describe_machine
from modalhash.options import QuantizerOptions

Measured = tuple[QuantizerRow, QueryValues]
RESULTS = Path(__file__).parent.parent / "results"


def choose_signs(measured: Sequence[Measured]) -> list[Measured]:
    """Choose the rows whose items are signs, which engines of bits hold."""
    return [pair for pair in measured if pair[0].quantizer in (*SIGN_QUANTIZERS, NESTED)]


def main() -> None:
    """Read options, measure what isn't there yet, and write the result files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("collections", nargs="+", help="what load_collection takes")
    parser.add_argument("--encoder", default="auto", help="one or several, parted by commas")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(QuantizerOptions.sizes))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--parts", type=Path, required=True, help="folder that keeps what is done")
    parser.add_argument("--kept", action="store_true", help="measure nothing more")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "quantizers.csv")
    chosen = parser.parse_args()
    options = QuantizerOptions(
        sizes=chosen.sizes, seeds=chosen.seeds, encoder=chosen.encoder, workers=chosen.workers
    )
    runs = chosen.parts / "runs"
    spaces = [
        pair for source in chosen.collections for pair in keep_spaces(source, chosen.parts, options)
    ]
    tasks = [
        task for file, space in spaces for task in make_tasks(file, space, QUANTIZERS, options)
    ]
    if not chosen.kept:
        run_tasks(tasks, runs, options)
    done = [task for task in tasks if (runs / f"{task.key}.json").exists()]
    measured = [pair for task in done for pair in read_result(runs, task)]
    names = [Path(source).name for source in chosen.collections]
    command = ["modalhash", "bench", "quantizers", *names, "--encoder", chosen.encoder]
    command += ["--seeds", ",".join(map(str, chosen.seeds)), "-o", "board"]
    write_text(chosen.output, rows_csv([row for row, _ in measured]))
    about = {
        "format": 1,
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(command),
        "machine": describe_machine(),
        "settings": {
            "sizes": chosen.sizes, "seeds": chosen.seeds, "shortlist": options.shortlist,
            "trainings": len(tasks), "done": len(done),
        },
        "collections": {space.name: [*space.notes, describe_counts(space)] for _, space in spaces},
        "verdicts": [asdict(verdict) for verdict in find_verdicts(measured)],
        "sign_verdicts": [asdict(verdict) for verdict in find_verdicts(choose_signs(measured))],
    }  # fmt: skip
    write_json(chosen.output.with_suffix(".json"), about)
    print(f"{len(done)} of {len(tasks)} trainings are in {chosen.output}")


if __name__ == "__main__":
    main()
