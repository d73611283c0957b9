"""Help with the options of a long command in sections, as their classes in Python group them."""

from collections.abc import Mapping
from dataclasses import fields

import click

from modalhash.options import RunOptions

__all__ = ["SectionedCommand"]

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Dividing COLLECTION": ("columns", "protocol", "split_file", "split_seed"),
    "Measures": ("top_k", "conventions", "ties", "n_resamples"),
    "Reranking": ("rerank", "rerank_score", "rerank_sweep"),
    "Output": ("full", "json_file", "csv_file", "page"),
    "Videos": ("frames", "frame_grid"),
    "Running": (*(field.name for field in fields(RunOptions)), "workers", "memory_gib", "help"),
}
"""Section to the names of the parameters in it; all others stand under Options."""


class SectionedCommand(click.Command):
    """A command whose help has its options in sections."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those of the command's own first."""
        names = ["Options", *SECTIONS]
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in names}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if isinstance(parameter, click.Option) and record is not None:
                sections[find_section(parameter.name or "")].append(record)
        for name, records in sections.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def find_section(parameter: str) -> str:
    """Find the section of a parameter."""
    return next((name for name, members in SECTIONS.items() if parameter in members), "Options")
