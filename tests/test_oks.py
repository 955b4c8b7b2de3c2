"""Hard and soft OKS-NMS keep the persons the reference keeps, in its order."""

import json

import numpy as np
import pytest

from pose.data.keypoints import COCO
from pose.evaluation.oks import oks, oks_nms, soft_oks_nms


@pytest.mark.parametrize(("kind", "suppress"), [("hard", oks_nms), ("soft", soft_oks_nms)])
def test_the_reference_keeps_the_same_persons(kind, suppress, reference):
    expected = json.loads((reference / "pipeline_nms.json").read_text())[kind]
    with np.load(reference / "pipeline_decode.npz") as arrays:
        persons = [arrays[f"nms_{name}"] for name in ("keypoints", "scores", "areas")]
    for threshold, kept in expected.items():
        assert suppress(*persons, float(threshold), COCO.sigmas) == kept


def test_oks_falls_to_one_over_the_root_of_e_at_two_sigma_of_the_root_area():
    sigmas, area = np.array(COCO.sigmas), 10_000.0
    here = np.zeros((17, 3))
    there = here.copy()
    there[:, 0] = 2 * sigmas * np.sqrt(area)
    similarity = oks(np.stack([here, there]), np.array([area, area]), sigmas)
    np.testing.assert_allclose(similarity, [[1, np.exp(-0.5)], [np.exp(-0.5), 1]], rtol=1e-12)
