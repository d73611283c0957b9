"""Codes under the kernels of other processors, on this one: the same rows, to the last bit.

MKL, oneDNN, OpenBLAS and torch choose their kernels by what the processor can do; each lets the
environment choose others, before it is loaded. So every choice takes a process of its own.
"""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAMILIES = [
    "MKL_ENABLE_INSTRUCTIONS=SSE4_2",
    "MKL_ENABLE_INSTRUCTIONS=AVX2",
    "MKL_CBWR=COMPATIBLE",
    "ATEN_CPU_CAPABILITY=default",
    "ATEN_CPU_CAPABILITY=avx2",
    "ONEDNN_MAX_CPU_ISA=SSE41",
    "ONEDNN_MAX_CPU_ISA=AVX2",
    "OPENBLAS_CORETYPE=Haswell",
    "OPENBLAS_CORETYPE=Prescott",
]
OFTEN = {("ATEN_CPU_CAPABILITY=default", 1), ("MKL_ENABLE_INSTRUCTIONS=AVX2", 2)}
"""Those that every run of the tests sees; the others are slow, for each starts a process."""


def run_in_family(family: str, n_threads: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, with kernels that the environment chooses."""
    name, _, value = family.partition("=")
    environment = os.environ | {"OMP_NUM_THREADS": str(n_threads)} | ({name: value} if name else {})
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@cache
def rows_of_heads(family: str, n_threads: int) -> dict[str, dict[str, object]]:
    """Return what `tests.oracles.rows_of_heads` reports under a family of kernels."""
    ended = run_in_family(family, n_threads, "-m", "tests.oracles.rows_of_heads", str(n_threads))
    assert ended.returncode == 0, ended.stderr
    found: dict[str, dict[str, object]] = json.loads(ended.stdout)
    return found


def cases() -> list[object]:
    """Return each family with one thread and with two; most are slow."""
    return [
        pytest.param(
            family, n_threads, marks=() if (family, n_threads) in OFTEN else pytest.mark.slow
        )
        for family in FAMILIES
        for n_threads in (1, 2)
    ]


@pytest.mark.parametrize(("family", "n_threads"), cases())
def test_every_family_of_kernels_gives_the_same_rows(family: str, n_threads: int) -> None:
    found, usual = rows_of_heads(family, n_threads), rows_of_heads("", 1)
    assert [name for name, report in found.items() if report["differing"]] == []
    assert found == usual


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_contract_of_models_holds_in_every_family(family: str) -> None:
    contract = "tests/contracts/test_model_contract.py"
    ended = run_in_family(
        family, 1, "-m", "pytest", "-q", "-p", "no:cacheprovider", contract,
        "-k", "item_alone and (cca-itq or lsh or dcmh or nested-labelled) or one_by_one",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout
