"""Progress: bars that fit a usual terminal, and lines where there is none."""

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from modalhash.cli.watching import bar_watcher, progress_bars, write_line
from modalhash.progress import line_watcher


def test_bars_keep_total_and_time_left_at_80_columns() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    values = {"loss": 0.123456, "intra": 1.5, "cross": 2.5, "decode": 3.5, "quantise": 4.5}
    bars = progress_bars(console)
    watch = bar_watcher(bars)
    watch("train", 25_600, 51_200, values)
    watch("a stage with a name that is long", 1, 2)
    console.print(bars.get_renderable())
    first, second = out.getvalue().splitlines()
    assert first.startswith("train")
    assert second.startswith("a stage with a name")
    for line, total in ((first, "25600/51200"), (second, "1/2")):
        assert total in line
        assert "left" in line
        assert "━" * 9 in line  # half of the bar
        assert len(line) <= 80


def test_without_a_terminal_there_is_a_line_every_few_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def times() -> Iterator[float]:
        yield from [0.0, 1.0, 6.0, 7.0, 12.0, 13.0, 14.0]

    clock = times()
    watch = line_watcher(lambda: next(clock), write=write_line)
    for done in (0, 10, 60, 70, 120, 480, 480):
        watch("train", done, 480, {"loss": 0.5})
    assert capsys.readouterr().err.splitlines() == [
        "train: 480 to do; loss 0.5",
        "train: 60 of 480, 0:42 min left; loss 0.5",
        "train: 120 of 480, 0:36 min left; loss 0.5",
        "train: 480 done; loss 0.5",
    ]
