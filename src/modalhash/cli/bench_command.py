"""`modalhash bench`."""

from typing import Any

import click

from modalhash.cli.grid_options import deliver_tables, grid_options, run_variants
from modalhash.methods import METHODS


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
@grid_options
def command(collections: tuple[str, ...], *, methods: str, output: str, **options: Any) -> None:
    """Train methods side by side on COLLECTIONS and print one table, and what each costs.

    Each run is a training and a measurement; its result is kept in the output folder as soon as it
    ends, so that the same command after a kill goes on, and a larger one reuses what is there. A
    method that can't be run somewhere (labels or tokens missing) is in the table with its reason.
    """
    from modalhash.bench.grid import Place
    from modalhash.bench.grid_table import cost_table, grid_table
    from modalhash.bench.variants import method_variants

    names = list(METHODS) if methods == "all" else [name.strip() for name in methods.split(",")]
    settings, preset = options.pop("settings"), options.pop("preset")
    variants = method_variants(names, preset=preset, settings=settings)
    split, encoder = options.pop("split"), options.pop("encoder")
    places = [Place(collection, encoder, split) for collection in dict.fromkeys(collections)]
    outcomes = run_variants(places, variants, output=output, **options)
    table = f"{grid_table(outcomes)}\n{cost_table(outcomes)}"
    deliver_tables(outcomes, variants, table, output)
