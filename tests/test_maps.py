"""The heat maps of one person that Figure 9 shows."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_commands import write_maps

from analysis import figure9
from pose.config import experiment
from pose.config.model_sheet import read_sheet
from pose.data.samples import Samples
from pose.datasets.coco import COCO
from pose.maps import clearest, maps_of
from pose.models import create_model
from pose.support.errors import PoseError

SIZE = (64, 48)


@pytest.mark.parametrize("order", [3, 4])
def test_the_final_maps_are_the_sum_or_the_product_of_all_scales(order):
    name = f"eeffpose-p0-order{order}"
    settings = experiment(name, "synthetic", SIZE, "controlled", 0)
    crop = torch.randint(0, 256, (*SIZE, 3), dtype=torch.uint8)
    *scales, final = maps_of(create_model(name).eval(), crop, settings)
    assert [maps.shape[1] for maps in scales] == ([16, 8, 4] if order == 3 else [16, 8, 4, 2, 1])
    raised = [F.interpolate(torch.from_numpy(maps)[None], (16, 12)) for maps in scales]
    joined = torch.stack(raised).sum(0) if order == 3 else torch.stack(raised).prod(0)
    assert np.allclose(final * settings.target.peak, joined[0], atol=1e-5)


def test_the_person_is_the_largest_of_those_with_most_annotated_joints():
    visible = np.zeros((4, len(COCO)), np.float32)
    visible[:, 0] = visible[1:3, 1] = 1
    ids, boxes = np.arange(4), np.array([[9, 9], [1, 1], [2, 2], [3, 3]], np.float32)
    joints = np.zeros((4, len(COCO), 2), np.float32)
    samples = Samples(
        COCO, np.array(["a.jpg"]), 0 * ids, ids, ids, boxes, boxes, joints, visible, ids * 0 + 1
    )
    assert clearest(samples) == 2


def test_figure9_has_a_map_a_scale_and_keypoint_and_one_of_all_of_a_net(tmp_path):
    rng = np.random.default_rng(0)
    names = ["nose", "left_knee", "right_knee", "left_ankle"]
    scales = [rng.random((4, 16 // 2**k, 12 // 2**k)) for k in range(3)]
    nets = [
        figure9.Net("eeffpose-p0-order8", [*scales, scales[0]]),
        figure9.Net("hrnet-w32", [scales[0]]),  # which predicts at one scale
    ]
    crop, joints = np.zeros((64, 48, 3), np.uint8), rng.uniform(0, 48, (4, 2))
    person = figure9.Person(crop, joints, np.ones(4), names, "coco", nets)
    figure = figure9.heat_map_figure(person, read_sheet())
    images = [axes for axes in figure.axes if axes.get_images()]
    assert len(images) == 3 * (3 + 1) + 1 + 3 * 1 + 1
    shown = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert shown[:5] == ["1/4", "1/8", "1/16", "final", "all keypoints"]
    titles = [text.get_text() for text in figure.texts]
    assert titles == ["Order 8: backbone + neck + head", "hrnet-w32"]


def test_a_file_that_holds_no_heat_maps_is_named(tmp_path):
    file = tmp_path / "maps.npz"
    assert figure9.read_maps(write_maps(file)).nets[0].model == "eeffpose-p0-order8"
    for content in (b"", json.dumps({}).encode()):
        file.write_bytes(content)
        with pytest.raises(PoseError, match=r"maps\.npz: not heat maps .* pose\.maps") as error:
            figure9.read_maps(file)
        assert "pickle" not in str(error.value)
