"""Bit orders of packed codes that indexes take and give; inside, an index knows only ours."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from inspect import signature
from typing import Any

from modalhash.codes import BitOrder, Codes, from_little, to_little
from modalhash.codes.bit_order import read_bit_order
from modalhash.index.hits import Ids, ItemBlock

__all__ = ["reorder_blocks", "wrap_for_bit_orders"]


def wrap_for_bit_orders(index_class: type) -> None:
    """Let methods in the body of a class take a bit order, where they don't name it themselves."""
    wraps_of_methods = {
        **dict.fromkeys(("search", "search_radius", "distance_histogram"), with_ordered_queries),
        "reconstruct": with_ordered_codes,
        "blocks": with_ordered_blocks,
    }
    for name, wrap in wraps_of_methods.items():
        method: Any = index_class.__dict__.get(name)
        if callable(method) and "bit_order" not in signature(method).parameters:
            setattr(index_class, name, wrap(method))


def with_ordered_queries(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a method whose first argument is queries: packed ones come in our order."""

    @wraps(method)
    def ordered(
        self: Any,
        queries: Any,
        *arguments: Any,
        bit_order: BitOrder | str = BitOrder.LITTLE,
        **options: Any,
    ) -> Any:
        return method(self, to_little(queries, bit_order), *arguments, **options)

    return ordered


def with_ordered_codes(method: Callable[..., Codes]) -> Callable[..., Codes]:
    """Wrap a method that gives codes in our order."""

    @wraps(method)
    def ordered(self: Any, ids: Ids, *, bit_order: BitOrder | str = BitOrder.LITTLE) -> Codes:
        return from_little(method(self, ids), bit_order)

    return ordered


def with_ordered_blocks(
    method: Callable[..., Iterator[ItemBlock]],
) -> Callable[..., Iterator[ItemBlock]]:
    """Wrap a method that yields items with codes in our order."""

    @wraps(method)
    def ordered(
        self: Any, n_rows: int = 4096, *, bit_order: BitOrder | str = BitOrder.LITTLE
    ) -> Iterator[ItemBlock]:
        return reorder_blocks(method(self, n_rows), bit_order)

    return ordered


def reorder_blocks(blocks: Iterator[ItemBlock], bit_order: BitOrder | str) -> Iterator[ItemBlock]:
    """Write the codes of blocks in another bit order.

    Raises:
        UnknownNameError: if there is no such order.
    """
    if read_bit_order(bit_order) is BitOrder.LITTLE:
        return blocks
    return (replace(block, codes=from_little(block.codes, bit_order)) for block in blocks)
