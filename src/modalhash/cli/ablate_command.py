"""`modalhash ablate`."""

from typing import Any

import click

from modalhash.cli.grid_options import deliver_tables, grid_options, run_variants


@click.command(
    "ablate",
    epilog="Example: modalhash ablate cfrh photos/ --bits 64 --seeds 0,1,2 -o ablations/cfrh",
)
@click.argument("method")
@click.argument("collections", nargs=-1, required=True)
@grid_options
def command(method: str, collections: tuple[str, ...], *, output: str, **options: Any) -> None:
    """Turn off each named part of METHOD, one at a time, and print what that changes.

    The first row is the whole method on COLLECTIONS, the others are differences from it, paired by
    seed. Results are kept run by run, as `modalhash bench` keeps them.
    """
    from modalhash.benchmarking.grid import Place
    from modalhash.benchmarking.grid_table import ablation_table
    from modalhash.benchmarking.variants import ablation_variants

    settings, preset = options.pop("settings"), options.pop("preset")
    variants = ablation_variants(method, preset=preset, settings=settings)
    split, encoder = options.pop("split"), options.pop("encoder")
    places = [Place(collection, encoder, split) for collection in dict.fromkeys(collections)]
    tasks, outcomes = run_variants(places, variants, output=output, **options)
    deliver_tables(tasks, outcomes, lambda found, _: ablation_table(found), output)
