"""The ablation as a factorial experiment: which orders tell what a switch does, alone and together.

The effect of a switch is what it adds to the score, averaged over all settings of the other
switches at which both orders were run. An interaction is by how much the effect of one changes
where another is there too: a difference of differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, product

import numpy as np
import pandas as pd

from analysis.ablation import VALUES

Key = tuple[str, ...]


def contrasts(orders: pd.DataFrame) -> pd.DataFrame:
    """The weight of each order's score in each effect: a row per effect, a column per order.

    ``orders``: the switches' values, a column each, of the orders that were run. A value is set
    against "plain", or against the switch's first where that was not run. Effects that these
    orders cannot tell are left out; the column ``settings`` counts what one is averaged over.
    """
    switches = [name for name in orders if orders[name].nunique() > 1]
    base = [min(orders[name], key=lambda value: value != VALUES[0]) for name in switches]
    others = [
        [v for v in orders[s].unique() if v != b] for s, b in zip(switches, base, strict=True)
    ]
    keys = orders[switches].itertuples(index=False, name=None)
    own = dict(zip(keys, np.eye(len(orders)), strict=True))
    rows = {}
    for chosen in _subsets(len(switches)):
        for values in product(*(others[place] for place in chosen)):
            found: Mapping[Key, np.ndarray] = own
            for place, value in zip(chosen, values, strict=True):
                found = _differences(found, place, value, base[place])
            if found:
                name = " x ".join(
                    switches[place] if value == VALUES[1] else f"{value} {switches[place]}"
                    for place, value in zip(chosen, values, strict=True)
                )
                rows[name] = [len(found), *np.mean(list(found.values()), axis=0)]
    columns = ["settings", *orders.index]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("effect")


def _subsets(number: int) -> Iterator[tuple[int, ...]]:
    for size in range(1, number + 1):
        yield from combinations(range(number), size)


def _differences(
    scores: Mapping[Key, np.ndarray], place: int, value: str, base: str
) -> dict[Key, np.ndarray]:
    """What ``value`` adds to ``base`` at one place of the key, wherever both are there."""
    found = {}
    for key, score in scores.items():
        plain = (*key[:place], base, *key[place + 1 :])
        if key[place] == value and plain in scores:
            found[key] = score - scores[plain]
    return found
