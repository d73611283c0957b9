"""A queue in which clients take turns."""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

__all__ = ["Turns"]

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """What waits, by client: one of each client in turn, each client's own in order.

    So a client that asks for much waits for itself, and others hardly wait for it.

    Example:
        >>> turns = Turns()
        >>> for client, item in [("ann", 1), ("ann", 2), ("ann", 3), ("bob", 4)]:
        ...     turns.add(client, item)
        >>> [turns.take() for _ in range(len(turns))]
        [1, 4, 2, 3]
    """

    def __init__(self) -> None:
        self._by_client: OrderedDict[str, deque[Item]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, client: str, item: Item) -> None:
        """Let an item of a client wait."""
        self._by_client.setdefault(client, deque()).append(item)
        self._length += 1

    def next(self) -> Item:
        """Find the item whose turn it is; it stays.

        Raises:
            StopIteration: if nothing waits.
        """
        return next(iter(self._by_client.values()))[0]

    def take(self) -> Item:
        """Remove and return the item whose turn it is.

        Raises:
            KeyError: if nothing waits.
        """
        client, items = self._by_client.popitem(last=False)
        item = items.popleft()
        if items:
            self._by_client[client] = items
        self._length -= 1
        return item
