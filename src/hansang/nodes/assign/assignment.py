"""Which side of an experiment a key falls on: the same in every process, on every machine, in every release.

Weighted rendezvous hashing (Thaler and Ravishankar 1998; weights as in Schindelhauer and Schomaker 2005): each side
draws a number for the key, and the best draw wins. A side of weight w wins the share w of all weights. When one weight
grows, its side only wins keys; a side that is added wins its keys from the others and moves none between these.

A key is hashed once, by BLAKE2b salted with the experiment's name, so that experiments are independent of each other.
The draw of a side is this number times the side's own odd number, modulo 2^64: each draw is uniform, and the draws of
several sides are as independent as the numbers of a multiplicative congruential generator of 64 bits with multipliers
that nobody has chosen: what ties two of them together is finer than one part in 2^31 (Steele and Vigna 2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import log
from typing import Any

import numpy as np

BYTES = 8
UNIT = 2.0**-64
MASK = (1 << 64) - 1
ODD = np.uint64(1)
MANY = 12


@dataclass(frozen=True, slots=True)
class Assignment:
    """Assigns the keys of one experiment to its sides, by the name of the experiment and the labels of the sides.

    The order of the sides does not matter, nor do weights that all grow by one factor.
    """

    name: str
    weights: Mapping[str, float]
    _salted: Any = field(init=False, repr=False)
    _sides: Sequence[tuple[int, int, float]] = field(init=False, repr=False)
    _arrays: tuple[np.ndarray, np.ndarray, np.ndarray] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        salt = blake2b(self.name.encode(), digest_size=16).digest()
        weighted = [(number, label, weight) for number, (label, weight) in enumerate(self.weights.items()) if weight]
        sides = [(number, multiplier(label), 1.0 / weight) for number, label, weight in weighted]
        numbers, factors, scales = zip(*sides, strict=True)
        put = object.__setattr__
        put(self, "_salted", blake2b(digest_size=BYTES, salt=salt, person=b"hansang split 1"))
        put(self, "_sides", sides)
        put(self, "_arrays", (np.array(numbers), np.array(factors, np.uint64), np.array(scales)))

    def sides(self, keys: Sequence[str]) -> list[int]:
        """Give the number of each key's side, in the order of the weights."""
        if len(self._sides) == 1:
            return [self._sides[0][0]] * len(keys)
        digests = self._digests(keys)
        if len(keys) < MANY:
            return [self._side(digest) for digest in digests]
        numbers, factors, scales = self._arrays
        hashed = np.frombuffer(b"".join(digests), "<u8") | ODD
        draws = (hashed[:, None] * factors) * UNIT  # the product of integers is modulo 2^64
        chosen: list[int] = numbers[(np.log(draws) * scales).argmax(1)].tolist()
        return chosen

    def _digests(self, keys: Sequence[str]) -> list[bytes]:
        copy = self._salted.copy
        digests = []
        for key in keys:
            state = copy()
            state.update(key.encode("utf-8", "surrogatepass"))
            digests.append(state.digest())
        return digests

    def _side(self, digest: bytes) -> int:
        """Do the same for one key, without arrays: they pay from some rows on."""
        hashed = int.from_bytes(digest, "little") | 1
        scores = [log((hashed * factor & MASK) * UNIT) * scale for _, factor, scale in self._sides]
        return self._sides[scores.index(max(scores))][0]

    def draw(self, key: str) -> dict[str, float]:
        """Give what each side of a weight above 0 draws for a key; the side with the best ln(draw) / weight wins."""
        hashed = int.from_bytes(self._digests([key])[0], "little") | 1
        labels = list(self.weights)
        return {labels[number]: (hashed * factor & MASK) * UNIT for number, factor, _ in self._sides}


def multiplier(label: str) -> int:
    """Give a side's own number."""
    digest = blake2b(label.encode(), digest_size=BYTES, person=b"hansang side 1").digest()
    return int.from_bytes(digest, "little") | 1
