"""The audit: its rows are what inference and evaluation give by the same settings, to the bit."""

import json

import numpy as np
import pandas as pd
import pytest
from prediction_runs import CPU, SIZE, TinyNet, settings

from pose import evaluate, infer
from pose.audit import PROTOCOL, audit, predict, variants
from pose.data.samples import open_split
from pose.data.synthetic.render import write_dataset
from pose.data.synthetic.rendered import DETECTIONS, SyntheticSettings
from pose.datasets.synthetic import DATASET
from pose.evaluation.score import APScorer
from pose.support.errors import PoseError


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people") / "data"
    write_dataset(folder, SyntheticSettings(train_images=1, val_images=6))
    return folder


@pytest.fixture(scope="module")
def detected(data_root):
    return open_split("synthetic", data_root, "val", SIZE, data_root / DETECTIONS)


@pytest.fixture(scope="module")
def scorer(data_root):
    return APScorer(DATASET.read_truth(DATASET.ground_truth(data_root)))


class CountingNet(TinyNet):
    passes = 0

    def forward(self, images):
        self.passes += len(images)
        return super().forward(images)


@pytest.mark.parametrize("flip", [True, False])
def test_every_variant_is_decoded_from_one_pass_as_inference_alone_decodes_it(flip, detected):
    chosen, net = settings(flip=flip), CountingNet()
    tried = [variant.test for variant in variants(chosen.test, is_ap=True)]
    found = predict(net, detected, chosen, tried, CPU)
    assert net.passes == 2 * len(detected)
    assert len(found) == (7 if flip else 5)
    for test in tried:
        reading = test.flip, test.flip_shift if test.flip else None, test.decode
        alone = infer.predict(net, detected, chosen.model_copy(update={"test": test}), CPU)
        np.testing.assert_array_equal(found[reading].numpy(), alone.keypoints)


def test_the_row_of_the_protocol_is_the_score_of_infer_and_evaluate(
    data_root, detected, scorer, tmp_path, capsys
):
    chosen, net = settings(), TinyNet()
    predictions = tmp_path / "predictions.npz"
    infer.predict(net, detected, chosen, CPU).save(predictions)
    files = ["--predictions", str(predictions), "--annotations", str(scorer.truth.path)]
    evaluate.main(["synthetic", *files, "--json"])
    expected = json.loads(capsys.readouterr().out)
    rows = pd.DataFrame(audit(net, detected, chosen, scorer, CPU)).set_index(["choice", "value"])
    assert rows["score"][PROTOCOL, ""] == expected["AP"]
    assert rows["difference"][PROTOCOL, ""] == 0
    evaluate.main(["synthetic", *files, "--json", "--soft-oks-nms"])
    assert rows["score"]["soft_oks_nms", "True"] == json.loads(capsys.readouterr().out)["AP"]
    np.testing.assert_array_equal(rows["difference"], rows["score"] - expected["AP"])
    assert abs(rows["difference"]["evaluator"]).max() < 1e-9


def test_each_variant_differs_from_the_protocol_in_its_choice_alone():
    own = settings().test
    first, *others = variants(own, is_ap=True)
    assert first == (PROTOCOL, "", own)
    for choice, value, test in others:
        changed = {name for name, of in test if of != getattr(own, name)}
        assert changed == {choice} and str(getattr(test, choice)) == value
    assert {choice for choice, *_ in variants(own, is_ap=False)} == {
        *(PROTOCOL, "flip", "flip_shift", "decode")
    }


class Limits:
    """A scorer to which the joints do not matter."""

    def metrics(self, predictions, test):
        return {"PCKh@0.5": 90.0, "PCKh@0.1": 30.0, "PCKh@0.11": 34.0}


def test_mpii_tells_both_limits_that_are_called_01(detected):
    chosen = settings().model_copy(update={"dataset": "mpii"})
    rows = pd.DataFrame(audit(TinyNet(), detected, chosen, Limits(), CPU))
    assert set(rows["metric"]) == {"PCKh@0.5", "PCKh@0.1"}
    limit = rows[rows["choice"] == "limit"].iloc[0]
    assert (limit["metric"], limit["score"], limit["difference"]) == ("PCKh@0.1", 34, 4)


def test_a_damaged_net_is_one_line(detected):
    net = TinyNet()
    net.layer.weight.data.fill_(float("nan"))
    with pytest.raises(PoseError, match="values that are not finite numbers"):
        predict(net, detected, settings(), [settings().test], CPU)
