"""`modalhash bench import`."""

from pathlib import Path
from typing import Any

import click

from modalhash.cli.measure_options import deliver, measure_options, output_options
from modalhash.cli.options import (
    RESULT_FOLDER,
    overwrite_option,
    packed_codes_options,
)


@click.command(
    "import",
    short_help="Measure the codes that a public program made.",
    epilog="Example: modalhash bench import cirh-inputs codes.npz -o cirh-codes",
)
@click.argument("inputs", type=click.Path())
@click.argument("codes", type=click.Path())
@click.option("-o", "--output", required=True, type=RESULT_FOLDER, help="New folder.")
@packed_codes_options
@overwrite_option
@measure_options
@output_options
def command(
    inputs: str,
    codes: str,
    *,
    json_file: str | None,
    csv_file: str | None,
    page: str | None,
    full: bool,
    **options: Any,
) -> None:
    """Read the codes that a public program made of INPUTS, and measure them.

    INPUTS is the folder that `modalhash bench export` wrote. CODES is a .npz, .mat or .h5 file, or
    a folder of .npy files, that holds the codes of queries and database: qu_BI, qu_BT, re_BI and
    re_BT, as these programs call them (or query_imgs, query_txts, retrieval_imgs and
    retrieval_txts). The output holds both parts as `modalhash encode` writes codes.
    """
    from modalhash.benchmarking import import_public_codes

    report = import_public_codes(inputs, codes, **options)
    if page is not None:
        from modalhash.reports.report import write_report

        write_report([report], Path(page))
    deliver([report], json_file=json_file, csv_file=csv_file, page=page, full=full)
