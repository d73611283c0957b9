"""`modalhash demo`."""

import click

from modalhash.cli.options import RESULT_FOLDER, cache_option, device_option
from modalhash.cli.terminal import echo
from modalhash.cli.watching import show_progress


@click.command("demo", epilog="Example: modalhash demo -o my-demo")
@click.option(
    "-o",
    "--output",
    default="modalhash-demo",
    show_default=True,
    type=RESULT_FOLDER,
    help="Folder for everything the demo makes.",
)
@click.option("--bits", default=64, show_default=True, help="Bits of a code.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser at the end.")
@cache_option
@device_option
def command(output: str, *, bits: int, open_page: bool, cache: str | None, device: str) -> None:
    """Run every step on built-in pictures: train, measure, search.

    Draws about 1,400 icons, makes features with the offline encoder, learns codes from icons and
    their words, measures them on held-out icons, builds an index, and writes a page with answers,
    measures and plots. Nothing is downloaded. A second run reuses what is there.
    """
    from modalhash.demo import run_demo

    with show_progress() as progress:
        result = run_demo(output, n_bits=bits, cache=cache, device=device, progress=progress)
    echo(f"model    {result.run}")
    echo(f"index    {result.index}")
    echo(f"answers  {result.sheet}")
    echo(f"page     {result.page}")
    echo(f'try      modalhash search {result.index} --text "space travel"')
    echo(f"or       modalhash serve {result.index}")
    if open_page:
        click.launch(str(result.page.resolve()))
