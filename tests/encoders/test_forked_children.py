"""Encoders and heads compute in children, however these are started."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(method, marks=() if method == "fork" else pytest.mark.slow)
        for method in multiprocessing.get_all_start_methods()
    ],
)
def test_a_child_computes_what_its_parent_does(method: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.oracles.encoding_child", method],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "2"}, timeout=400,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (0, "same\n"), ended.stderr
