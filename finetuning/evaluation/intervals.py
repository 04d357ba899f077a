"""How sure a share is: the Wilson score interval.

"82 of 100 stories were coherent" is one draw. The interval says which true shares would make such
a draw unsurprising, and unlike the textbook ±1.96·√(p(1−p)/n) it stays inside [0, 1] and does not
shrink to nothing at 0 % or 100 %.

Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
Journal of the American Statistical Association 22 (1927).
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """`hits` out of `total`, with its 95 % interval [low, high], all as fractions of one."""

    hits: int
    total: int

    @property
    def value(self) -> float:
        """The share itself; 0 when nothing was counted."""
        return self.hits / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval."""
        return wilson_interval(self.hits, self.total)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.0%} ({self.hits}/{self.total}, 95 % interval {low:.0%} to {high:.0%})"


def wilson_interval(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The range of true shares that `hits` out of `total` would not surprise.

    >>> low, high = wilson_interval(0, 10)
    >>> low, round(high, 3)
    (0.0, 0.278)
    """
    if not 0 <= hits <= total:
        raise ValueError(f"hits must lie between 0 and total: got {hits} of {total}")
    if total == 0:
        return 0.0, 1.0
    p, z2 = hits / total, z * z
    centre = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = z * math.sqrt(p * (1 - p) / total + z2 / (4 * total * total)) / (1 + z2 / total)
    return max(0.0, centre - half), min(1.0, centre + half)
