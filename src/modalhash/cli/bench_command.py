"""`modalhash bench`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from modalhash.cli.grid_options import deliver_tables, grid_options, run_variants
from modalhash.methods import METHODS

if TYPE_CHECKING:  # torch is loaded when runs begin
    from modalhash.bench.marks import Cell, Marks
    from modalhash.bench.outcomes import Outcome


@click.command(
    "bench",
    epilog="Example: modalhash bench photos/ icons --methods cca-itq,cfrh --bits 16,64 -o bench/",
)
@click.argument("collections", nargs=-1, required=True)
@click.option(
    "--methods",
    default="all",
    show_default=True,
    help="Names parted by commas, or all; cfrh+hug is cfrh with hugging.",
)
@click.option(
    "--quick",
    is_flag=True,
    help="16 and 64 bits, seed 0, two epochs: shows that all runs, not how good it is.",
)
@grid_options
def command(
    collections: tuple[str, ...], *, methods: str, quick: bool, output: str, **options: Any
) -> None:
    """Train methods side by side on COLLECTIONS and print one table, and what each costs.

    Each run is a training and a measurement; its result is kept in the output folder as soon as it
    ends, so that the same command after a kill goes on, and a larger one reuses what is there. A
    method that can't be run somewhere (labels or tokens missing) is in the table with its reason.
    """
    from modalhash.bench.grid import Place
    from modalhash.bench.grid_table import MARKED, cost_table, grid_table
    from modalhash.bench.variants import method_variants, quick_variants

    names = list(METHODS) if methods == "all" else [name.strip() for name in methods.split(",")]
    settings, preset = options.pop("settings"), options.pop("preset")
    variants = method_variants(names, preset=preset, settings=settings)
    if quick:
        variants = quick_variants(variants)
        options |= {"bits": (16, 64), "seeds": (0,)}
    split, encoder = options.pop("split"), options.pop("encoder")
    places = [Place(collection, encoder, split) for collection in dict.fromkeys(collections)]
    tasks, outcomes = run_variants(places, variants, output=output, **options)

    def tables(found: "Sequence[Outcome]", marks: "Mapping[Cell, Marks]") -> str:
        return f"{grid_table(found, marks)}\n{MARKED}\n\n{cost_table(found)}"

    deliver_tables(tasks, outcomes, tables, output)
