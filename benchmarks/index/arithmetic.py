"""Work out what many items take: memory, disk, machines, time, encoding. Nothing is measured here.

Bytes follow from the formats; rates are those that `benchmarks.index.scale` recorded for one core
(`benchmarks/results/index-scale-64.json` and `-128.json`); everything else is an option, above all
prices, which only the reader knows. docs/scale.md says what the lines mean.

    python -m benchmarks.index.arithmetic --items 1e9 --bits 64
    python -m benchmarks.index.arithmetic --items 1e10 --bits 128 --kind ivf --id-bytes 20 --qps 500
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent.parent / "results"
KINDS = ("flat", "ivf", "mih")
MANY_ROWS = 2**31
"""From so many rows on, positions take 8 bytes instead of 4."""
MOST_CELLS = 1 << 16
PROBED_SHARE = 1 / 128
"""The least share of cells that `ivf` looks into; harder codes need more."""
PROBED_COST = 2.5
"""A code in a cell costs as much as so many in a scan: both 1,751 and 31,711 queries a second of a
million codes (`index-kinds-1000000x64-threads1.json`) give this, by the scan's rate."""
METADATA_ROW_BYTES = 14
"""Of SQLite for a row, beside the id and the JSON text; 13.3 were measured."""


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        items: codes of one side, pictures or texts.
        bits: bits of a code.
        kind: of the index.
        id_bytes: mean length of a text id in UTF-8; 0 for integer ids, added in ascending order.
        metadata_bytes: mean length of an item's metadata as JSON; 0 without.
        machine_gib: memory of a machine.
        usable: share of it that may hold codes.
        cores: of a machine.
        qps: queries a second.
        probed: with `ivf`, the share of cells that a query looks into.
        scan_rate: codes that one core compares a second.
        encode_rate: items that one core encodes a second.
        encode_cores: cores that encode at once.
        item_bytes: of a picture's file, or a text.
        gbit: bits a second of the network that the items come over, in 10^9.
    """

    items: float
    bits: int = 64
    kind: str = "flat"
    id_bytes: int = 0
    metadata_bytes: int = 0
    machine_gib: float = 64
    usable: float = 0.75
    cores: int = 16
    qps: float = 100
    probed: float = PROBED_SHARE
    scan_rate: float = 5e8
    encode_rate: float = 60
    encode_cores: int = 100
    item_bytes: int = 50_000
    gbit: float = 10


@dataclass(frozen=True)
class ItemBytes:
    """Bytes of one item in an index folder.

    Attributes:
        code: the packed code.
        searcher: what finds codes: cells or tables.
        ids: the id, and what ids are looked up by.
        metadata: its row in SQLite.
    """

    code: float
    searcher: float
    ids: float
    metadata: float

    @property
    def hot(self) -> float:
        """What every search reads, and so must be in memory."""
        return self.code + self.searcher

    @property
    def all(self) -> float:
        """What lies on disk."""
        return self.hot + self.ids + self.metadata


def item_bytes(plan: Plan, rows: float) -> ItemBytes:
    """Return the bytes of an item in an index of so many rows."""
    code = math.ceil(plan.bits / 8)
    position = 4 if rows < MANY_ROWS else 8
    searcher = {
        "flat": 0,
        "ivf": code + 8,
        "mih": position * math.ceil(plan.bits / 16),
    }[plan.kind]
    # Texts: where each ends, the text, a key and a row to look it up by.
    ids = 8 if not plan.id_bytes else 8 + plan.id_bytes + 8 + 8
    metadata = plan.metadata_bytes + plan.id_bytes + METADATA_ROW_BYTES
    return ItemBytes(code, searcher, ids, metadata if plan.metadata_bytes else 0)


@dataclass(frozen=True)
class Outcome:
    """What a plan takes.

    Attributes:
        per_item: bytes of an item.
        machines: that hold one copy.
        replicas: copies for the queries a second.
        query_core_seconds: of one query over all machines; of `mih` at most.
        latency_seconds: of one query on one core of each machine, all at once, without network.
        build_core_hours: to put codes into cells; 0 for other kinds.
        encode_core_hours: to encode all items.
        encode_days: on the cores there are.
        input_bytes: that encoding reads.
        input_days: over the network.
        code_file_bytes: that encoding writes.
    """

    per_item: ItemBytes
    machines: int
    replicas: int
    query_core_seconds: float
    latency_seconds: float
    build_core_hours: float
    encode_core_hours: float
    encode_days: float
    input_bytes: float
    input_days: float
    code_file_bytes: float


def work_out(plan: Plan) -> Outcome:
    """Return what a plan takes; see the page on scale for each formula.

    Example:
        >>> work_out(Plan(1e9)).query_core_seconds  # 10^9 codes at 5 * 10^8 a second
        2.0
    """
    room = plan.machine_gib * 2**30 * plan.usable
    # Positions are counted within a machine.
    per_item = item_bytes(plan, 0)
    machines = math.ceil(plan.items * per_item.hot / room)
    per_item = item_bytes(plan, plan.items / machines)
    machines = math.ceil(plan.items * per_item.hot / room)
    rows = plan.items / machines
    if plan.kind == "ivf":
        cells = min(MOST_CELLS, 1 << round(math.log2(rows) / 2))
        compared, built = cells + PROBED_COST * plan.probed * rows, plan.items * cells
    else:
        compared, built = rows, 0
    latency = compared / plan.scan_rate
    query = latency * machines
    encode_seconds = plan.items / plan.encode_rate
    read = plan.items * plan.item_bytes
    day = 86_400
    # A code file: code, id, key and row of the id.
    code_file = per_item.code + (8 + plan.id_bytes if plan.id_bytes else 8) + 8 + 4
    return Outcome(
        per_item,
        machines,
        math.ceil(plan.qps * query / (machines * plan.cores)),
        query,
        latency,
        built / plan.scan_rate / 3600,
        encode_seconds / 3600,
        encode_seconds / plan.encode_cores / day,
        read,
        read * 8 / (plan.gbit * 1e9) / day,
        plan.items * code_file,
    )


def measured_rates(bits: int, folder: Path = RESULTS) -> tuple[float, float]:
    """Return codes compared and pictures encoded a second on one core, as they were recorded.

    The scan's rate is that of single queries over the most codes, which no cache holds.

    Raises:
        SystemExit: if codes of that many bits weren't measured.
    """
    if bits > 128:
        raise SystemExit(f"--bits is {bits}: up to 128 were measured; give --scan-rate for more")
    name = 64 if bits <= 64 else 128
    scan = json.loads((folder / f"index-scale-{name}.json").read_text("utf-8"))["results"]["scan"]
    largest = scan[max(scan, key=int)]["single_codes_per_cpu_second"]
    encoding = json.loads((folder / "index-scale-64.json").read_text("utf-8"))["results"][
        "encoding"
    ]
    return float(largest), float(encoding["images_per_cpu_second"])


def shown(plan: Plan, outcome: Outcome, price: float | None) -> list[str]:
    """Return the lines for people."""
    one, copies = outcome.per_item, outcome.machines * outcome.replicas
    at_most = "at most " if plan.kind == "mih" else ""
    hot, everything = plan.items * one.hot / 1e9, plan.items * one.all / 1e9
    memory = f"{hot:,.1f} GB: {one.code:g} bytes of code, {one.searcher:g} of the searcher an item"
    disk = f"{everything:,.1f} GB: also {one.ids:g} bytes of ids, {one.metadata:g} of metadata"
    machines = f"{outcome.machines} of {plan.machine_gib:g} GiB for a copy"
    machines += f", {at_most}{copies} for {plan.qps:g} queries a second"
    query = f"{at_most}{outcome.query_core_seconds:.3g} core seconds in all, "
    query += f"{outcome.latency_seconds:.3g} s on one core of each machine"
    days = f"{outcome.encode_days:,.1f} days on {plan.encode_cores} cores"
    arriving = f"{outcome.input_days:,.1f} days at {plan.gbit:g} Gbit/s"
    lines = {
        "items": f"{plan.items:.3g} of {plan.bits} bits, {plan.kind}",
        "in memory": memory,
        "on disk": disk,
        "machines": machines,
        "a query": query,
        "cells": f"{outcome.build_core_hours:,.1f} core hours to build",
        "encoding": f"{outcome.encode_core_hours:,.0f} core hours, {days}",
        "input": f"{outcome.input_bytes / 1e12:,.1f} TB, {arriving}",
        "code files": f"{outcome.code_file_bytes / 1e9:,.1f} GB",
    }
    if price is not None:
        lines["encoding costs"] = f"{outcome.encode_core_hours * price:,.0f}"
    return [f"{name:<16}{text}" for name, text in lines.items()]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    default = Plan(0)
    parser.add_argument("--items", type=float, default=1e9, help="codes of one side")
    parser.add_argument("--bits", type=int, default=default.bits)
    parser.add_argument("--kind", choices=KINDS, default=default.kind)
    parser.add_argument("--id-bytes", type=int, default=0, help="of a text id; 0 for integers")
    parser.add_argument("--metadata-bytes", type=int, default=0, help="of an item's JSON")
    parser.add_argument("--machine-gib", type=float, default=default.machine_gib)
    parser.add_argument("--usable", type=float, default=default.usable, help="share for codes")
    parser.add_argument("--cores", type=int, default=default.cores, help="of a machine")
    parser.add_argument("--qps", type=float, default=default.qps, help="queries a second")
    parser.add_argument("--probed", type=float, default=default.probed, help="share of cells")
    parser.add_argument("--scan-rate", type=float, help="codes a second and core; else measured")
    parser.add_argument("--encode-rate", type=float, help="items a second and core; else measured")
    parser.add_argument("--encode-cores", type=int, default=default.encode_cores)
    parser.add_argument("--item-bytes", type=int, default=default.item_bytes)
    parser.add_argument("--gbit", type=float, default=default.gbit)
    parser.add_argument("--core-hour-price", type=float, help="yours; without it none is shown")
    options = vars(parser.parse_args(arguments))
    price = options.pop("core_hour_price")
    names = ("scan_rate", "encode_rate")
    if any(options[name] is None for name in names):
        rates = dict(zip(names, measured_rates(options["bits"]), strict=True))
        options |= {name: rates[name] for name in names if options[name] is None}
    plan = Plan(**options)
    print("\n".join(shown(plan, work_out(plan), price)))


if __name__ == "__main__":
    main()
