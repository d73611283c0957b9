"""Explanations of hits on stdout."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from modalhash.cli.tables import format_probability
from modalhash.cli.terminal import echo, show_line

if TYPE_CHECKING:
    from modalhash.index.explanation import DistanceProfile
    from modalhash.search import Explanation
    from modalhash.search.answers import WeighedItem

__all__ = ["print_explanations"]

BARS = 16
LONGEST_BAR = 40
SHOWN_BITS = 5


def print_explanations(explanations: Sequence["Explanation"]) -> None:
    """Print the distances of a query, then why each item is where it is."""
    for line in profile_lines(explanations[0].profile):
        echo(line)
    for item in explanations:
        for line in explain_item(item):
            echo(line)


def profile_lines(profile: "DistanceProfile") -> Iterator[str]:
    """Yield how far all items are from the query, as bars."""
    yield (
        f"distances of {profile.n_items:,} items: {profile.mean:.1f} bits on average; two random "
        f"codes differ in {profile.expected:g}"
    )
    counts = profile.counts.tolist()
    width = -(-len(counts) // BARS)
    sums = [sum(counts[start : start + width]) for start in range(0, len(counts), width)]
    for place, count in enumerate(sums):
        if count:
            first = place * width
            last = min(first + width, len(counts)) - 1
            bar = "#" * max(1, round(LONGEST_BAR * count / max(sums)))
            yield f"  {first:>4}{f' - {last}' if last > first else '':<7} {bar} {count:,}"


def explain_item(item: "Explanation") -> Iterator[str]:
    """Yield why an item is where it is."""
    first, last = item.ranks
    rank = f"rank {first:,}" if first == last else f"shares ranks {first:,} to {last:,}"
    differing = ", ".join(map(str, item.bits.differing)) or "none"
    yield show_line(str(item.id))
    yield f"  {item.distance} of {item.profile.n_bits} bits differ: {differing}"
    yield (
        f"  {rank} of {item.profile.n_items:,}, nearer than {item.percentile:.1f} % of the items; "
        f"two random codes are as near with probability {item.chance:.2g}"
    )
    if item.weighed is not None:
        yield from explain_weights(item.weighed)
    if item.strength is not None:
        yield f"  match: {item.strength}"
    if item.relevance is not None:
        means = "shares a label" if item.relevance_rule == "shared_label" else "is the query's own"
        yield f"  relevant ({means}) with probability {format_probability(item.relevance)}"
    if item.local_score is not None:
        yield f"  score by finer codes: {item.local_score:.3f}"


def explain_weights(item: "WeighedItem") -> Iterator[str]:
    """Yield the score of an item, and the bits that count most for it and against it."""
    yield f"  score {item.score:+.3f} (from -1 to +1), the sum of what the bits add"
    order = sorted(range(len(item.contributions)), key=lambda bit: -abs(item.contributions[bit]))
    for words, sign in (("most for it", 1), ("most against it", -1)):
        bits = [bit for bit in order if sign * item.contributions[bit] > 0][:SHOWN_BITS]
        named = ", ".join(f"bit {bit} {item.contributions[bit]:+.3f}" for bit in bits)
        yield f"  {words}: {named or 'none'}"
