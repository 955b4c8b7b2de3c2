"""Protocols: what the paper says, what the released code does, and how a result names it."""

import pytest

from pose.config import Experiment, experiment, parse, read_experiment
from pose.errors import PoseError
from pose.fingerprint import fingerprint

SIZES = {"coco": (256, 192), "mpii": (256, 256)}


def order(number: int, protocol: str, dataset: str = "coco") -> Experiment:
    return experiment(f"eeffpose-p0-order{number}", dataset, SIZES[dataset], protocol)


def test_released_trains_orders_1_and_2_with_three_times_the_batch():
    sizes = [order(number, "released").train.batch_size for number in range(1, 9)]
    assert sizes == [192, 192, 64, 64, 64, 64, 64, 64]


def test_released_trains_order_2_and_p2_in_half_precision():
    assert [order(number, "released").train.precision for number in (1, 2, 8)] == [
        *("fp32", "fp16", "fp32")
    ]
    for name in ("eeffpose-p2", "eeffpose-p2-order8"):
        assert experiment(name, "coco", (384, 288)).train.precision == "fp16"


def test_controlled_trains_every_order_alike():
    settings = {order(number, "controlled").train for number in range(1, 9)}
    assert len(settings) == 1


def test_paper_and_released_code_augment_mpii_differently():
    released, paper = (order(8, p, "mpii").augmentation for p in ("released", "paper"))
    assert (released.scale, released.rotation) == (0.25, 30)
    assert (paper.scale, paper.rotation) == (0.30, 25)
    assert released.half_body_probability == paper.half_body_probability == 0


def test_the_paper_writes_mish_where_the_released_code_has_silu():
    assert order(8, "paper").model_options.activation == "mish"
    assert order(8, "released").model_options.activation == "silu"


@pytest.mark.parametrize(
    ("dataset", "size", "sigma"),
    [("coco", (256, 192), 2), ("coco", (384, 288), 3), ("mpii", (384, 384), 3)],
)
def test_the_gaussian_is_wider_at_higher_resolution(dataset, size, sigma):
    assert experiment("eeffpose-p2", dataset, size).target.sigma == sigma


def test_an_overridden_setting_enters_the_protocol_label():
    changed = experiment(
        "eeffpose-p0", "coco", (256, 192), "released", 0, {"train": {"epochs": 3, "lr": 0.1}}
    )
    assert changed.protocol == "released (epochs=3, lr=0.1)"
    assert changed.train.epochs == 3
    assert changed.key() != experiment("eeffpose-p0", "coco", (256, 192)).key()


def test_an_experiment_survives_its_own_json(tmp_path):
    original = order(8, "released")
    file = tmp_path / "experiment.json"
    file.write_text(original.model_dump_json())
    assert read_experiment(original.model_dump_json()) == read_experiment(str(file)) == original


def test_wrong_keys_and_values_are_named_with_the_nearest_known():
    content = order(8, "released").model_dump()
    content["train"] |= {"epoch": 3, "lr": -1}
    with pytest.raises(PoseError) as error:
        parse(Experiment, content, "experiment")
    assert "unknown key 'train.epoch' (did you mean 'epochs'?)" in str(error.value)
    assert "train.lr: Input should be greater than 0, got -1" in str(error.value)


def test_a_fingerprint_ignores_layout_and_prose_but_not_meaning(tmp_path, monkeypatch):
    monkeypatch.setattr("pose.fingerprint.PACKAGE", tmp_path)
    module = tmp_path / "loss.py"

    def of(text: str) -> str:
        module.write_text(text)
        return fingerprint("*.py")

    plain = of("def loss(a, b):\n    return (a - b) ** 2\n")
    prose = of('"""Doc."""\n\n\ndef loss(a, b):\n    """Doc."""\n    return (a-b)**2  # square\n')
    assert plain == prose
    assert of("def loss(a, b):\n    return abs(a - b)\n") != plain
