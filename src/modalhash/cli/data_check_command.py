"""`modalhash data check`."""

from dataclasses import asdict

import click

from modalhash.cli.options import columns_option, json_option, largest_picture_option
from modalhash.cli.terminal import echo, echo_json
from modalhash.cli.watching import show_progress
from modalhash.data import check_collection


@click.command("check", epilog="Example: modalhash data check photos/")
@click.argument("collection")
@click.option(
    "--strict", is_flag=True, help="Counts that differ from the data set's card are defects too."
)
@columns_option
@largest_picture_option
@json_option
@click.pass_context
def command(context: click.Context, collection: str, *, strict: bool, as_json: bool) -> None:
    """Find every defect in COLLECTION, decoding every picture; exit with 1 if there is one.

    Counts are compared with the card of the data set, if it is a known one; ranges, label sums and
    what comes twice are counted.
    """
    with show_progress() as progress:
        report = check_collection(collection, progress=progress)
    if as_json:
        document = {
            "format": 1,
            "source": report.source,
            "counts": {
                "items": report.n_items,
                "texts": report.n_captions,
                "pictures": report.n_pictures,
            },
            "defects": [asdict(defect) for defect in report.defects],
            "notes": list(report.notes),
            "deviations": [deviation.to_json() for deviation in report.deviations],
            "values": list(report.values),
        }
        echo_json(document)
    else:
        for defect in report.defects:
            echo(f"{defect}  [{defect.kind}]")
        for note in report.notes:
            echo(f"note: {note}")
        for deviation in report.deviations:
            echo(f"differs: {deviation}")
        for line in report.values:
            echo(line)
        count = len(report.defects)
        verdict = "no defect" if not count else "1 defect" if count == 1 else f"{count} defects"
        echo(
            f"{report.n_items:,} items, {report.n_captions:,} texts, "
            f"{report.n_pictures:,} pictures decoded: {verdict}"
        )
    context.exit(0 if report.is_sound and not (strict and report.deviations) else 1)
