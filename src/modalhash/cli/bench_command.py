"""`modalhash bench`, and its commands `export` and `import`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from modalhash.cli.bench_export_command import command as export_command
from modalhash.cli.bench_import_command import command as import_command
from modalhash.cli.grid_options import deliver_tables, grid_options, run_variants
from modalhash.methods import METHODS

if TYPE_CHECKING:  # torch is loaded when runs begin
    from modalhash.benchmarking.marks import Cell, Marks
    from modalhash.benchmarking.outcomes import Outcome


class BenchGroup(click.Group):
    """A command over collections, unless the first word names one of its own commands.

    A folder of such a name is written with a folder sign: `modalhash bench ./export`.
    """

    allow_extra_args, allow_interspersed_args = False, True  # a command's, not a group's

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Hand over to the command that the first word names, if it does."""
        own = self.commands.get(args[0]) if args else None
        if own is None:
            return super().make_context(info_name, args, parent, **extra)
        return own.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the arguments and options; a command below has none of them before its name."""
        return super().get_params(ctx) if ctx.command is self else []

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as a command does."""
        return click.Command.parse_args(self, ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Describe the use as a command's."""
        return click.Command.collect_usage_pieces(self, ctx)

    def invoke(self, ctx: click.Context) -> Any:
        """Run as a command does."""
        return click.Command.invoke(self, ctx)


@click.command(
    "bench",
    cls=BenchGroup,
    no_args_is_help=False,
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
    from modalhash.benchmarking.grid import Place
    from modalhash.benchmarking.grid_table import MARKED, cost_table, grid_table
    from modalhash.benchmarking.variants import method_variants, quick_variants

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


command.add_command(export_command)
command.add_command(import_command)
