"""The traced nets say what the paper's figures of the architecture say, and are drawn from that."""

import json
from itertools import pairwise

import pytest
import torch

from analysis import architecture
from pose.graph import trace
from pose.models import create_model
from pose.models.eeffpose.backbone import EffNet
from pose.models.eeffpose.head import FSHead
from pose.models.eeffpose.net import VARIANTS, PoseNet

SIZE = (256, 192)


@pytest.fixture(scope="module")
def graphs() -> dict[int, dict]:
    with torch.device("meta"):
        nets = {order: create_model(f"eeffpose-p0-order{order}") for order in (1, 8)}
    return {order: trace(net, SIZE) for order, net in nets.items()}


def nodes_of(graph: dict, word: str) -> list[dict]:
    return [node for node in graph["nodes"] if word in node["name"].split(".")]


def scales_read(graph: dict, node: dict) -> set[int]:
    return {SIZE[0] // graph["nodes"][number]["shape"][1] for number in node["inputs"]}


def test_every_addup_of_the_total_fusion_neck_reads_all_three_scales(graphs):
    addups = [n for n in nodes_of(graphs[8], "addup") if n["block"].startswith("neck")]
    assert len(addups) == 3 * 3
    assert all(scales_read(graphs[8], node) == {4, 8, 16} for node in addups)


def test_no_scale_of_effnet_reads_a_coarser_one_and_each_of_eeffnet_does(graphs):
    def ever_coarser(graph: dict) -> bool:
        own = [node for node in graph["nodes"] if node["block"].split(".")[0] == "backbone"]
        return any(
            graph["nodes"][number]["shape"][1] < node["shape"][1]
            for node in own
            for number in node["inputs"]
        )

    assert not ever_coarser(graphs[1]) and ever_coarser(graphs[8])
    assert [len(nodes_of(graphs[k], "extended")) for k in (1, 8)] == [0, 6]


def test_the_plain_head_sums_five_scales_and_the_other_multiplies_three_sigmoids(graphs):
    def operators(order: int) -> list[str]:
        own = [node for node in graphs[order]["nodes"] if node["block"] == "head"]
        kinds = [node["kind"] for node in own if not node["name"]]
        return sorted(kind for kind in kinds if not kind.startswith("upsample"))

    assert operators(1) == ["add"] * 4
    assert operators(8) == ["mul"] * 2 + ["sigmoid"] * 3


def test_a_graph_holds_the_parameters_of_its_net_once(graphs):
    for graph, params in ((graphs[1], 3_797_279), (graphs[8], 9_007_292)):
        assert sum(node["params"] for node in graph["nodes"]) == graph["params"] == params
        assert sum(part["params"] for part in graph["parts"].values()) == params


def test_boxes_stand_in_the_order_of_computation_and_a_features_scale_is_its_row(graphs, tmp_path):
    for part in ("backbone", "neck", "head"):
        figure = architecture.figure_of_part(list(graphs.values()), part)
        kinds = [graph["parts"][part]["kind"] for graph in graphs.values()]
        titles = [axes.get_title(loc="left").split(",")[0] for axes in figure.axes]
        assert titles == kinds
    figure = architecture.overview([graphs[8]])
    rows = [text.get_text() for text in figure.axes[0].texts if "x" in text.get_text()]
    assert rows == ["1\n256x192", "1/2\n128x96", "1/4\n64x48", "1/8\n32x24", "1/16\n16x12"]
    heights = [text.xy[1] for text in figure.axes[0].texts if hasattr(text, "xy")]
    assert all(a < b for a, b in pairwise(heights))


def test_a_neck_of_ones_own_is_drawn_beside_the_others(graphs):
    from test_contributing import code_blocks

    space = {"__name__": "apart_neck"}
    exec(code_blocks("Add a neck")[0], space)
    with torch.device("meta"):
        backbone = EffNet(VARIANTS["p0"].trunk)
        neck = space["ApartNeck"](backbone.widths, 64, 3, "silu")
        own = PoseNet(VARIANTS["p0"], backbone, neck, FSHead(neck.widths, 17))
    graph = trace(own, SIZE)
    assert all(len(scales_read(graph, node)) == 1 for node in nodes_of(graph, "neck"))
    figure = architecture.figure_of_part([*graphs.values(), graph], "neck")
    assert figure.axes[2].get_title(loc="left").startswith("ApartNeck")
    assert len(architecture.overview([*graphs.values(), graph]).axes) == 3


@pytest.mark.slow
def test_figures_2_to_5_are_written_in_three_formats(graphs, tmp_path):
    file = tmp_path / "graphs.json"
    file.write_text(json.dumps(list(graphs.values())))
    architecture.main(["--graphs", str(file), "--output-dir", str(tmp_path)])
    written = {path.name for path in tmp_path.glob("figure*")}
    assert written == {f"figure{n}.{kind}" for n in (2, 3, 4, 5) for kind in ("svg", "png", "pdf")}
    for content in ("{}", "[]"):
        file.write_text(content)
        with pytest.raises(SystemExit, match="not the graphs of nets"):
            architecture.main(["--graphs", str(file), "--output-dir", str(tmp_path)])
