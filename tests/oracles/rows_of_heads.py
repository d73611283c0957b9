"""Relaxed codes of every kind of head, in batches of several sizes, as one line of JSON.

Run it where the environment chooses kernels: `python -m tests.oracles.rows_of_heads 1`.

The weights are the same everywhere: whole numbers over a power of two from a fixed recurrence.
"""

import hashlib
import json
import sys

import numpy as np
import torch
from numpy.typing import NDArray

from modalhash.codes import GradedBits
from modalhash.layers import (
    BitMap,
    FeatureScaling,
    FusionHead,
    FusionTransformer,
    GeluHead,
    GradedHead,
    HashHead,
    KernelHead,
    LandmarkGraph,
    LandmarkHead,
    LinearHead,
    MlpHead,
    NormalisedHead,
    ScalingRule,
    TokenTrunk,
    TrunkHead,
    TrunkKind,
)
from modalhash.methods.hasher import HashTower

WIDTH, TOKEN_WIDTH, N_TOKENS, N_ROWS = 70, 12, 9, 300
SIZES = {1: 12, 2: 20, 7: 70, 255: 300, 257: 300, 299: 300}
"""Size of a batch to how many rows are encoded in such batches."""
GRADED = GradedBits((4, 3, 2, 1), (8.0, 4.0, 2.0, 1.0))
Rows = tuple[NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.bool_] | None]


def numbers(*shape: int, seed: int) -> NDArray[np.float32]:
    """Return whole numbers from -2^15 to 2^15 over 2^14, by a linear congruential recurrence."""
    state, values = seed + 1, []
    for _ in range(int(np.prod(shape))):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append((state >> 48) - 2**15)
    return (np.array(values, np.float32) / np.float32(2**14)).reshape(shape)


def heads(n_bits: int = 10) -> dict[str, tuple[ScalingRule, HashHead]]:
    """Return a head of each kind, each with a rule of scaling."""
    kernel = KernelHead(WIDTH, 90, 0.7, BitMap(20, 6, n_bits))
    trunks = {
        f"token {kind}": TrunkHead(
            TokenTrunk(kind, WIDTH, TOKEN_WIDTH, width=24, n_heads=3), MlpHead((WIDTH, n_bits))
        )
        for kind in TrunkKind
    }
    fusion = FusionHead(
        WIDTH, FusionTransformer(24, n_heads=3, n_layers=2), MlpHead((24, 16, n_bits))
    )
    graph = LandmarkGraph(
        WIDTH, 80, 90, hidden_width=16, n_bits=n_bits, rank=5, attention_weight=0.45
    )
    found: dict[str, tuple[ScalingRule, HashHead]] = {
        "linear": (ScalingRule.STANDARDISED, LinearHead(WIDTH, n_bits)),
        "mlp": (ScalingRule.NONE, MlpHead((WIDTH, 600, n_bits))),
        "gelu": (ScalingRule.UNIT, GeluHead((WIDTH, 50, n_bits))),
        "normalised": (
            ScalingRule.CENTRED_UNIT, NormalisedHead((WIDTH, 24, n_bits), n_attention_heads=3)
        ),
        "graded": (ScalingRule.NONE, GradedHead(WIDTH, GRADED)),
        "kernel": (ScalingRule.CENTRED_UNIT, kernel),
        "fusion": (ScalingRule.CENTRED_UNIT, fusion),
        "landmark": (ScalingRule.CENTRED_UNIT, LandmarkHead(MlpHead((WIDTH, 40, n_bits)), graph)),
    }  # fmt: skip
    return found | {name: (ScalingRule.UNIT, head) for name, head in trunks.items()}


def tower(name: str) -> HashTower:
    """Return a tower of a head whose numbers are fixed; variances are positive."""
    rule, head = heads()[name]
    made = HashTower(FeatureScaling(rule, WIDTH), head).eval()
    state = made.state_dict()
    for seed, (key, values) in enumerate(state.items()):
        if not values.is_floating_point():
            continue
        fixed = (
            torch.from_numpy(numbers(*values.shape, seed=seed)) / max(1, values.shape[-1]) ** 0.5
        )
        is_positive = key.endswith(("running_var", "scaling.scale"))
        values.copy_(fixed.abs() + 0.5 if is_positive else fixed)
    made.load_state_dict(state)
    return made


def rows(*, with_tokens: bool) -> Rows:
    """Return features; item i has i % 10 tokens, at most `N_TOKENS`."""
    pooled = numbers(N_ROWS, WIDTH, seed=999)
    if not with_tokens:
        return pooled, None, None
    mask = np.arange(N_TOKENS) < (np.arange(N_ROWS) % (N_TOKENS + 1))[:, None]
    return pooled, numbers(N_ROWS, N_TOKENS, TOKEN_WIDTH, seed=998), mask


def chosen(all_rows: Rows, places: NDArray[np.int64]) -> Rows:
    """Return some of the rows."""
    pooled, tokens, mask = all_rows
    return (
        pooled[places],
        None if tokens is None else tokens[places],
        (None if mask is None else mask[places]),
    )


def differing(name: str) -> tuple[list[str], str]:
    """Return the batchings whose rows differ from those of one batch, and a digest of the rows."""
    encoder = tower(name)
    all_rows = rows(with_tokens=encoder.head.reads_tokens)
    whole = encoder.relaxed(*all_rows)
    assert np.isfinite(whole).all()
    faults = []
    for size, n_rows in SIZES.items():
        for start in range(0, n_rows, size):
            places = np.arange(start, min(start + size, n_rows))
            if not np.array_equal(encoder.relaxed(*chosen(all_rows, places)), whole[places]):
                faults.append(f"rows {start} to {places[-1]} of batches of {size}")
    order = np.random.default_rng(1).permutation(N_ROWS)
    if not np.array_equal(encoder.relaxed(*chosen(all_rows, order)), whole[order]):
        faults.append("another order")
    return faults, hashlib.sha256(whole.astype("<f4").tobytes()).hexdigest()


def report(n_threads: int) -> dict[str, dict[str, object]]:
    """Return, for each kind of head, what differs and the digest of its rows."""
    torch.set_num_threads(n_threads)
    found: dict[str, dict[str, object]] = {}
    for name in heads():
        faults, digest = differing(name)
        found[name] = {"differing": faults, "digest": digest}
    return found


if __name__ == "__main__":
    print(json.dumps(report(int(sys.argv[1]))))
