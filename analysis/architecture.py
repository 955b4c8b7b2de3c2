"""Figures 2 to 5: the nets as they compute, plain and mutually enhanced side by side.

Drawn from the graphs that ``pose.graph`` found by running the nets. A row is a scale, and what
follows upon something stands to the right of it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

from pose.support import cli
from pose.support.errors import PoseError, command
from pose.support.files import read_json


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("analysis.architecture", __doc__)
    parser.add_argument("--graphs", type=Path, required=True, help="what pose.graph wrote")
    parser.add_argument("--output-dir", type=cli.output_folder, required=True)
    return parser


cli.answer_early(__name__, command_line)

from matplotlib.figure import Figure

from analysis import style
from analysis.diagram import ROLES, SYMBOLS, Box, Panel, draw

NAMES = {
    "InvertedResidual": "MBConv",
    "DepthwiseSeparableConv": "DSConv",
    "Sequential": "Conv BN",
    "Conv2d": "Conv",
    "MaxPool2dSame": "pool",
    "_Node": "fuse",
    "TotalFusion": "Total\nFusion",
}
ON_THE_ARROW = ("upsample", "max_pool", "BatchNorm")  # kinds that have no box of their own


def read_graphs(file: Path) -> list[dict[str, Any]]:
    """The graphs that ``pose.graph`` wrote; PoseError for another file."""
    graphs = read_json(file)
    if not (graphs and isinstance(graphs, list)) or not all(
        isinstance(graph, dict) and {"parts", "blocks", "nodes"} <= graph.keys() for graph in graphs
    ):
        raise PoseError(f"{file}: not the graphs of nets; make them by python -m pose.graph")
    return graphs


def overview(graphs: list[dict[str, Any]]) -> Figure:
    """Figure 2: the features of each net by part and scale, a neck's repeats one by one."""
    panels = []
    for graph in graphs:
        columns: dict[str, int] = {}

        def group(node: dict, columns: dict[str, int] = columns) -> str:
            part = _part(node)
            name = node["block"] if part == "neck" else part
            columns.setdefault(name, len(columns))
            return name

        boxes = contracted(
            graph["nodes"], lambda node: ((group(node), *_size(node)), _image(node), "feature")
        )
        for (name, *_), box in boxes.items():
            box.column = columns[name]
        title = f"{graph['model']}: {graph['params']:,} parameters\n"
        title += " → ".join(part["kind"] for part in graph["parts"].values())
        panels.append(Panel(title, graph["input"], list(boxes.values())))
    return draw(panels)


def figure_of_part(graphs: list[dict[str, Any]], part: str) -> Figure | None:
    """Figure 3, 4 or 5: each kind of backbone, neck or head among the nets; None without one.

    Of a neck that repeats a block the first is drawn. In a backbone a block of several scales, such
    as TotalFusion, is a box a scale.
    """
    panels = {}
    for graph in graphs:
        kind = graph["parts"].get(part, {}).get("kind")
        if kind in panels or kind is None:
            continue
        nodes, blocks = graph["nodes"], graph["blocks"]
        own = [node for node in nodes if _part(node) == part]
        repeats = list(dict.fromkeys(node["block"] for node in own if node["block"] != part))
        title = f"{kind}, {graph['parts'][part]['params']:,} parameters"
        if part == "neck" and len(repeats) > 1:
            own = [node for node in own if node["block"] in (part, repeats[0])]
            title += f"\nthe first of {len(repeats)} repeats"
        inside = {id(node) for node in own}
        read = {id(nodes[number]) for node in own for number in node["inputs"]}

        def shown(
            node: dict, inside: set[int] = inside, read: set[int] = read, blocks: dict = blocks
        ) -> tuple[Hashable, str, str] | None:
            if id(node) in inside:
                if part == "backbone" and node["block"] != part:
                    return (node["block"], *_size(node)), _named(blocks[node["block"]]), "fusion"
                return id(node), _text(node), _role(node, part)
            return (("input", *_size(node)), _image(node), "feature") if id(node) in read else None

        boxes = list(contracted(nodes, shown).values())
        for box in boxes:
            if box.role == "feature":  # it comes from elsewhere
                box.inputs.clear()
            # A neck goes up and down within a column, a backbone and a head on with every step.
            steps = [one.column + (part != "neck" or one.size == box.size) for one in box.inputs]
            box.column = max(steps, default=0)
        panels[kind] = Panel(title, graph["input"], boxes)
    return draw(list(panels.values())) if panels else None


def _part(node: dict) -> str:
    return node["block"].split(".")[0]


def _size(node: dict) -> tuple[int, int]:
    return tuple(node["shape"][1:])


def _image(node: dict) -> str:
    return "image" if not node["inputs"] else ""


def _named(kind: str) -> str:
    return NAMES.get(kind, kind)


def _text(node: dict) -> str:
    if not node["name"]:
        return SYMBOLS.get(node["kind"], node["kind"])
    return _named(node["kind"]) + (f"\nx{node['repeats']}" if node["repeats"] > 1 else "")


def _role(node: dict, part: str) -> str:
    """A key of :data:`ROLES`, from the words of the module's name where it has one."""
    if part == "backbone":
        return "extended" if "extended" in node["name"].split(".") else "trunk"
    words = [word for word in node["name"].split(".") if word in ROLES]
    return (words or ["fusion" if len(node["inputs"]) > 1 else "other"])[0]


def contracted(
    nodes: list[dict], shown: Callable[[dict], tuple[Hashable, str, str] | None]
) -> dict[Hashable, Box]:
    """The boxes by their key, in the order of computation.

    ``shown`` gives a node's key, text and role, or None for one that is left out. Nodes of one key
    share a box. Resampling and normalisation are part of the arrow.
    """
    boxes: dict[Hashable, Box] = {}
    sources: list[list[Box]] = []  # by node: its box, or those whose arrows it lies on
    for node in nodes:
        inputs = list(dict.fromkeys(box for number in node["inputs"] for box in sources[number]))
        if node["kind"].startswith(ON_THE_ARROW):
            sources.append(inputs)
        elif (drawn := shown(node)) is None:
            sources.append([])
        else:
            key, text, role = drawn
            box = boxes.setdefault(key, Box(text, role, tuple(node["shape"])))
            box.shape = tuple(node["shape"])  # the last of several is what others read
            box.inputs += [one for one in inputs if one is not box and one not in box.inputs]
            sources.append([box])
    return boxes


@command
def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)
    graphs = read_graphs(options.graphs)
    style.save(overview(graphs), options.output_dir, "figure2")
    for number, part in enumerate(("backbone", "neck", "head"), 3):
        if figure := figure_of_part(graphs, part):
            style.save(figure, options.output_dir, f"figure{number}")


if __name__ == "__main__":
    main()
