import pytest
from numpy.testing import assert_allclose

from benchmarks.metrics import conventions


def test_the_printed_table_holds() -> None:
    rows = list(conventions.compare(seed=1))
    assert len({(row.k, row.convention, row.ties) for row in rows}) == 3 * 4 * 4
    assert_allclose([row.value for row in rows], [row.oracle for row in rows], rtol=0, atol=1e-9)


def test_the_script_prints_its_largest_difference(capsys: pytest.CaptureFixture[str]) -> None:
    conventions.main(["--seed", "2"])
    printed = capsys.readouterr().out.splitlines()
    assert len([line for line in printed if " expected " in line]) == 3 * 4
    assert float(printed[-1].removeprefix("largest difference ")) < 1e-9
