"""Hard and soft OKS-NMS keep the persons the reference keeps, in its order."""

import numpy as np
import pytest
from reference_fill import fixtures

from pose.datasets.coco import COCO
from pose.evaluation.oks import oks, oks_nms, soft_oks_nms


@pytest.mark.parametrize(("kind", "suppress"), [("hard", oks_nms), ("soft", soft_oks_nms)])
def test_the_reference_keeps_the_same_persons(kind, suppress):
    samples = fixtures("suppression")
    persons = [np.array(samples[name]) for name in ("keypoints", "scores", "areas")]
    for threshold, kept in samples["kept"][kind].items():
        assert suppress(*persons, float(threshold), COCO.sigmas).tolist() == kept


def test_oks_falls_to_one_over_the_root_of_e_at_two_sigma_of_the_root_area():
    sigmas, area = np.array(COCO.sigmas), 10_000.0
    here = np.zeros((17, 3))
    there = here.copy()
    there[:, 0] = 2 * sigmas * np.sqrt(area)
    similarity = oks(np.stack([here, there]), np.array([area, area]), sigmas)
    np.testing.assert_allclose(similarity, [[1, np.exp(-0.5)], [np.exp(-0.5), 1]], rtol=1e-12)


def suppressed_one_by_one(keypoints, scores, areas, threshold):
    """Greedy suppression as its definition reads, for one image."""
    similarity = oks(keypoints, areas, COCO.sigmas)
    kept = []
    for person in sorted(range(len(scores)), key=lambda person: -scores[person]):
        if all(similarity[person, other] <= threshold for other in kept):
            kept.append(person)
    return kept


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.9, 0.99, 1.0])
def test_many_images_at_once_are_suppressed_as_each_on_its_own(threshold):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 30, 400) * 7 + 1  # in no order
    keypoints = rng.uniform(0, 200, (400, 17, 3))
    copies = rng.integers(0, 400, 250)  # near twins of others, anywhere
    keypoints[:250] = keypoints[copies] + rng.normal(0, 1, (250, 17, 3)) * rng.random((250, 1, 1))
    images[:250] = images[copies]
    scores = rng.choice([0.2, 0.5, 0.7, 0.9], 400)  # with ties
    areas = rng.uniform(500, 20_000, 400)
    kept = oks_nms(keypoints, scores, areas, threshold, COCO.sigmas, images)
    expected = []
    for image in np.unique(images):
        rows = np.flatnonzero(images == image)
        persons = keypoints[rows], scores[rows], areas[rows]
        expected += rows[suppressed_one_by_one(*persons, threshold)].tolist()
    assert kept.tolist() == expected
    assert 50 < len(kept) <= 400
