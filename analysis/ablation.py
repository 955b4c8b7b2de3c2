"""The ablation: its orders by what their switches say, and how each of them is drawn.

The paper's code for lines: solid with the MEMe backbone (else dotted), thick with the MEMe neck
(else thin), red with the MEMe head (else blue). Other values of these switches get the next line
style, width or hue, and values of further switches a marker.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import pandas as pd

from pose.config.model_sheet import SWITCHES, Sheet, ablation, switches
from pose.support.errors import PoseError, nearest

VALUES = ("plain", "meme")  # the paper's; others follow as the sheet lists them
DASHES = ((0, (1, 1.3)), "-", (0, (5, 1.5)), (0, (6, 1.2, 1, 1.2)))
WIDTHS = (1.2, 2.6, 1.9, 3.4)
HUES = (
    ("#7fb2dd", "#4a90cf", "#2a6db4", "#123f7d", "#35b0ab", "#0d6e6e"),
    ("#f0807a", "#e0443e", "#d01c2a", "#8f0b1e", "#f29b38", "#b86a00"),
    ("#8fce8b", "#4fae4a", "#2c8a2f", "#14571a", "#b5c334", "#74801a"),
    ("#c3a3dc", "#9d6cc6", "#7a42ab", "#4d1f78", "#d879b6", "#96306f"),
)
"""By head; a shade for each backbone and neck, as :func:`_ranks` numbers these pairs."""
MARKERS = (None, "o", "s", "^", "D")


def orders_of(sheet: Sheet) -> pd.DataFrame:
    """The switches of the ablation's orders, a column each; indexed by order as the sheet goes."""
    rows = {order: switches(sheet[model]) for order, model in ablation(sheet).items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("order")


def require_listed(frame: pd.DataFrame, sheet: Sheet) -> None:
    """PoseError for a ``model`` that the sheet does not have."""
    for model in frame["model"].unique():
        if model not in sheet:
            raise PoseError(
                f"results of {model}, which is not in config/models.tsv{nearest(model, sheet)};"
                " give it a row there, or leave its results out"
            )


def with_orders(frame: pd.DataFrame, sheet: Sheet) -> pd.DataFrame:
    """The rows whose ``model`` is one of the ablation's, and ``order``, which it is.

    Raises PoseError for a model that the sheet does not have.
    """
    require_listed(frame, sheet)
    orders = frame["model"].map({model: row["order"] for model, row in sheet.items()})
    return frame.assign(order=orders)[orders != ""]


def parts(values: pd.Series) -> str:
    """``"neck + head"``: the parts that an order's switches replace by MEMe's, or by another."""
    names = {
        switch: switch if value == "meme" else f"{value} {switch}"
        for switch, value in values.items()
        if value != "plain"
    }
    return " + ".join(names.values()) or "baseline"


def absent(found: Iterable[str], sheet: Sheet) -> str:
    """The sentence that names the ablation's orders that are not among those found, if any."""
    left = [order for order in ablation(sheet) if order not in {*found}]
    orders = "orders" if len(left) > 1 else "order"
    return f"Not among these results: {orders} {', '.join(left)}." if left else ""


def line_styles(orders: pd.DataFrame) -> dict[str, dict[str, object]]:
    """Matplotlib's arguments for the line of each order, of :func:`orders_of`."""
    return {
        order: {
            "linestyle": _nth(DASHES, rank["backbone"]),
            "linewidth": _nth(WIDTHS, rank["neck"]),
            "color": _nth(_nth(HUES, rank["head"]), rank["shade"]),
            "marker": _nth(MARKERS, rank["further"]),
            "dash_capstyle": "butt",
        }
        for order, rank in _ranks(orders).iterrows()
    }


def by_backbone_and_neck(orders: pd.DataFrame) -> list[str]:
    """The orders with the heads on the same backbone and neck side by side."""
    return list(_ranks(orders).sort_values(["shade", "head", "further"]).index)


def by_head(orders: pd.DataFrame) -> list[str]:
    """The orders of one head together, and the necks on the same backbone side by side."""
    return list(_ranks(orders).sort_values(["head", "backbone", "neck", "further"]).index)


def _ranks(orders: pd.DataFrame) -> pd.DataFrame:
    """The places of the switches' values in :data:`VALUES` and those that follow, by order.

    ``shade`` numbers the pairs of a backbone and a neck, the paper's four first; ``further``
    numbers what all other switches say together.
    """
    ranks = orders[list(SWITCHES)].apply(lambda column: _numbered(column, VALUES))
    pairs = pd.Series(list(zip(ranks["neck"], ranks["backbone"], strict=True)), orders.index)
    ranks["shade"] = _numbered(pairs, ((0, 0), (0, 1), (1, 0), (1, 1)))
    others = orders.drop(columns=list(SWITCHES))
    together = pd.Series(list(others.itertuples(index=False, name=None)), orders.index)
    ranks["further"] = _numbered(together, [("plain",) * others.shape[1]])
    return ranks


def _numbered(column: pd.Series, first: Iterable[Hashable]) -> pd.Series:
    places = {value: k for k, value in enumerate(dict.fromkeys([*first, *column]))}
    return column.map(places)


def _nth(choices: Sequence[Any], number: int) -> Any:
    return choices[number % len(choices)]
