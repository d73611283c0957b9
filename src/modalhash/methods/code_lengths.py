"""The lengths of one nested code, and what each counts in training."""

__all__ = ["code_lengths", "length_shares"]


def code_lengths(n_bits: int, shortest: int) -> list[int]:
    """List the lengths that are trained: doublings of the shortest below n_bits, and n_bits.

    Example:
        >>> code_lengths(64, 16), code_lengths(48, 16), code_lengths(8, 16), code_lengths(64, 0)
        ([16, 32, 64], [16, 32, 48], [8], [64])
    """
    lengths = []
    while 0 < shortest < n_bits:
        lengths.append(shortest)
        shortest *= 2
    return [*lengths, n_bits]


def length_shares(n_lengths: int) -> list[float]:
    """Compute each length's share: the whole code half, its prefixes the rest in equal parts.

    Example:
        >>> length_shares(3), length_shares(1)
        ([0.25, 0.25, 0.5], [1.0])
    """
    if n_lengths == 1:
        return [1.0]
    return [0.5 / (n_lengths - 1)] * (n_lengths - 1) + [0.5]
