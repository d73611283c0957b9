"""What a worker of Ray runs first, so that it knows the encoder `tiny` too."""

import logging

from tests.oracles.tiny_encoder import TINY_TABLES

__all__ = ["know_tiny"]


def know_tiny() -> None:
    """Add the encoder `tiny` to the tables, for good."""
    for table, entry in TINY_TABLES:
        table["tiny"] = entry
    logging.getLogger("modalhash").setLevel(logging.ERROR)
