"""A shuffled order that needs no memory: position in the epoch → number of the item, by arithmetic.

A permutation held as an array costs 8 bytes an item and must be drawn again on resume, by a generator
whose stream may differ in the next numpy. A Feistel network is a permutation by construction whatever
its round function is (Luby & Rackoff, 1988), so the order of any number of items is a pure function of
(seed, epoch, position), the same on every machine for ever. Its domain is a power of four; a result
outside of the wanted range is sent through again until it falls inside ("cycle walking", Black & Rogaway,
2002), at most four times on average.

Left out: cryptographic strength. Six rounds of a 64-bit mixer are plenty to shuffle windows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6
_MASK64 = (1 << 64) - 1


def mix(value: int) -> int:
    """The splitmix64 finaliser on a Python integer: 64 bits in, 64 well-mixed bits out."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK64
    return value ^ (value >> 31)


def draw(seed: int, epoch: int, below: int) -> int:
    """A number from 0 to `below` − 1 that only seed and epoch decide. Not the shuffle's own bits."""
    return mix(mix(seed & _MASK64) ^ mix(epoch) ^ 0x5EED) % below


def draws(numbers: NDArray[np.int64], below: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The draws number `numbers` of an epoch: each from 0 to `below` − 1, independent, with replacement.

    A draw is a function of its number alone, so it costs nothing to go on anywhere. The choice is fair to
    `below` / 2⁶⁴, which is nothing for any text.

    >>> draws(np.arange(4), 10, seed=1, epoch=0).tolist() == draws(np.arange(9), 10, seed=1, epoch=0)[:4].tolist()
    True
    """
    key = np.uint64(mix(mix(seed & _MASK64) ^ mix(mix(epoch) ^ 0xD4A3)))
    value = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key  # splitmix64 from `key`
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((value ^ (value >> np.uint64(31))) % np.uint64(below)).astype(np.int64)


def shuffled(positions: NDArray[np.int64], count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The items that stand at `positions` (each 0 ≤ p < count) in the epoch's order of `count` items.

    >>> sorted(shuffled(np.arange(5), 5, seed=1, epoch=0).tolist())
    [0, 1, 2, 3, 4]
    """
    if count <= 1:
        return np.zeros_like(positions)
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    keys = [np.uint64(mix(mix(seed & _MASK64) ^ mix(mix(epoch) + number))) for number in range(ROUNDS)]
    value = positions.astype(np.uint64)
    value = _feistel(value, half, keys)
    outside = np.flatnonzero(value >= count)
    while len(outside):
        walked = _feistel(value[outside], half, keys)
        value[outside] = walked
        outside = outside[walked >= count]
    return value.astype(np.int64)


def _feistel(value: NDArray[np.uint64], half: int, keys: list[np.uint64]) -> NDArray[np.uint64]:
    bits, low = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = value >> bits, value & low
    for key in keys:
        mixed = (right ^ key) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
        left, right = right, left ^ ((mixed >> np.uint64(32)) & low)
    return (left << bits) | right
