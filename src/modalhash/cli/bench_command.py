"""`modalhash bench`, and its commands `export`, `import` and `quantizers`."""

from typing import Any

import click

import modalhash as mh
from modalhash.cli.bench_export_command import command as export_command
from modalhash.cli.bench_import_command import command as import_command
from modalhash.cli.bench_quantizers_command import command as quantizers_command
from modalhash.cli.grid_options import grid_options, print_comparison_table, typed_command
from modalhash.cli.watching import show_progress


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
        """Make the context of the command that the first word names, if it names one."""
        own = self.commands.get(args[0]) if args else None
        if own is None:
            return super().make_context(info_name, args, parent, **extra)
        return own.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """List the arguments and options; a command below has none of them before its name."""
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
def command(collections: tuple[str, ...], **options: Any) -> None:
    """Train methods side by side on COLLECTIONS and print one table, and what each costs.

    Each run is a training and a measurement; its result is kept in the output folder as soon as it
    ends, so that the same command after a kill goes on, and a larger one reuses what is there. A
    method that can't be run somewhere (labels or tokens missing) is in the table with its reason.
    """
    with show_progress() as progress:
        result = mh.bench(collections, progress=progress, command=typed_command(), **options)
    print_comparison_table(result)


command.add_command(export_command)
command.add_command(import_command)
command.add_command(quantizers_command)
