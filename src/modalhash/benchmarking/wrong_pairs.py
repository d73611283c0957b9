"""How much a method loses when some training items have the texts of others."""

import statistics
from collections.abc import Iterable, Sequence

import numpy as np

from modalhash.benchmarking.grid_table import format_spread, markdown
from modalhash.benchmarking.outcomes import DIRECTIONS, Outcome
from modalhash.data import Collection, Positions
from modalhash.errors import InputError, SettingError
from modalhash.seeds import check_seed

__all__ = ["check_pair_shares", "format_wrong_pairs", "shuffle_texts"]

TITLES = ("recall@10 by pair", "MAP@50, shared label")
"""Measures whose losses the table shows."""


def shuffle_texts(collection: Collection, items: Positions, share: float, seed: int) -> Positions:
    """Give some items the texts of others: each chosen item gets those of another chosen one.

    Which ones depends on the seed and the number of items alone, and those of a smaller share are
    among those of a larger one.

    Args:
        collection: whose items are numbered.
        items: positions to choose from.
        share: of `items` that get other texts, in [0, 1].
        seed: decides which.

    Returns:
        (n,) int64, for each item of the collection the item whose texts it gets.

    Raises:
        InputError: if a share above 0 makes fewer than two items, which can't exchange texts.
        SettingError: if the share or the seed is out of its range.

    Example:
        >>> letters = ("a", "b", "c", "d", "e")
        >>> pairs = Collection("pairs", letters, letters, np.arange(5), letters)
        >>> owners = shuffle_texts(pairs, np.arange(5), 0.6, seed=0)
        >>> int((owners != np.arange(5)).sum()), sorted(owners.tolist())
        (3, [0, 1, 2, 3, 4])
    """
    check_share(share)
    check_seed(seed)
    n_chosen = round(share * len(items))
    if share and n_chosen < 2:
        raise InputError(
            f"a share of {share:g} of the {len(items)} items that {collection.name} has to learn "
            f"from makes {n_chosen}: at least 2 are needed to exchange texts"
        )
    chosen = items[np.random.default_rng(seed).permutation(len(items))[:n_chosen]]
    owners = np.arange(collection.n_items, dtype=np.int64)
    owners[chosen] = np.roll(chosen, 1)
    return owners


def check_share(share: float) -> None:
    """Refuse a share out of its range."""
    if not 0 <= share <= 1:
        raise SettingError(f"the share of shuffled pairs is {share}, expected in [0, 1]")


def check_pair_shares(collection: Collection, items: Positions, shares: Sequence[float]) -> None:
    """Check all shares before anything is trained; see `shuffle_texts`."""
    for share in shares:
        shuffle_texts(collection, items, share, 0)


def format_wrong_pairs(runs: Iterable[tuple[float, Outcome]]) -> str:
    """Format a row a share and method, with what is lost against share 0, as Markdown.

    Recall@10 by pair and MAP@50 by labels are means of both directions; losses are in points of a
    hundred, paired by seed. Means and deviations are over seeds; a dash is what wasn't measured.

    Args:
        runs: shares of shuffled pairs and what was measured, by share, then method, then seed.
    """
    rows: dict[tuple[float, str], list[Outcome]] = {}
    for share, outcome in runs:
        rows.setdefault((share, outcome.row), []).append(outcome)
    lines = []
    for (share, name), same in rows.items():
        right = {outcome.seed: outcome for outcome in rows.get((0.0, name), [])}
        cells = []
        for title in TITLES:
            values = {outcome.seed: average_directions(outcome, title) for outcome in same}
            known = {seed: value for seed, value in values.items() if value is not None}
            losses = [
                100 * (reference - value)
                for seed, value in known.items()
                if seed in right
                and (reference := average_directions(right[seed], title)) is not None
            ]
            cells += [format_spread([*known.values()]), format_losses(losses) if share else ""]
        lines.append([f"{100 * share:g} %", name, *cells])
    heads = [head for title in TITLES for head in (title, "points lost")]
    return markdown(["shuffled", "method", *heads], lines)


def average_directions(outcome: Outcome, title: str) -> float | None:
    """Compute the mean of a measure over both directions; None where it wasn't measured."""
    values = [outcome.values.get(f"{title} {direction}") for direction in DIRECTIONS]
    known = [value for value in values if value is not None]
    return statistics.mean(known) if len(known) == len(values) else None


def format_losses(losses: Sequence[float]) -> str:
    """Format mean and deviation of losses in points; a single loss has no deviation."""
    if not losses:
        return "-"
    if len(losses) == 1:
        return f"{losses[0]:.1f}"
    return f"{statistics.mean(losses):.1f} ± {statistics.pstdev(losses):.1f}"
