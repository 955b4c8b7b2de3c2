"""The memory of a training step: counted without a GPU, and which chunk of a batch fits."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from configs import config
from training_runs import small_experiment

from pose.config import experiment
from pose.config.model_sheet import model_sheet
from pose.models import create_model
from pose.support.errors import PoseError
from pose.train import require_memory, train
from pose.training.activations import count
from pose.training.memory import Need, expected, require_fit
from workflow.memory import traffic
from workflow.plan import Plan
from workflow.settings import read

COCO, MPII = "coco", "mpii"
# (model, data set, input, precision) -> GB that the whole batch keeps for its backward pass,
# counted on another day by another hand.
COUNTED = {
    ("eeffpose-p2", MPII, (384, 384), "fp16"): (64, 163),
    ("eeffpose-p2", COCO, (384, 288), "fp16"): (64, 122),
    ("eeffpose-p2", COCO, (384, 288), "fp32"): (64, 238),
    ("efficientpose-4", MPII, (600, 600), "fp32"): (20, 110),
    ("mobilenetv2", COCO, (384, 288), "fp32"): (512, 98),
    ("litehrnet-30", COCO, (384, 288), "fp32"): (256, 86),
    ("eeffpose-p0-order2", COCO, (256, 192), "fp16"): (192, 85.5),
    ("eeffpose-p0-order8", MPII, (256, 256), "fp32"): (64, 84.4),
    ("hrnet-w48", MPII, (384, 384), "fp32"): (128, 77.5),
    ("eeffpose-p0-order1", COCO, (256, 192), "fp32"): (192, 71.8),
    ("eeffpose-p0-order8", COCO, (256, 192), "fp32"): (64, 63.4),
    ("eeffpose-p0-order8", COCO, (256, 192), "bf16"): (64, 0.51 * 64),
}


@pytest.mark.parametrize("case", COUNTED)
def test_the_list_of_counts_gives_what_was_counted_at_every_input(case):
    model, dataset, size, precision = case
    batch, gigabytes = COUNTED[case]
    settings = experiment(model, dataset, size, overrides={"train": {"precision": precision}}).train
    need = expected(model, size, settings)
    assert batch * need.an_image / 1e9 == pytest.approx(gigabytes, rel=0.03)


def test_every_model_has_been_counted():
    settings = experiment("hrnet-w32", COCO, (256, 192)).train
    assert all(expected(model, (256, 192), settings) for model in model_sheet())
    assert expected("another-net", (256, 192), settings) is None


FAST = ("shufflenetv2", "eeffpose-p0-order1")


@pytest.mark.parametrize(
    "model", [pytest.param(m, marks=() if m in FAST else pytest.mark.slow) for m in model_sheet()]
)
def test_the_list_of_counts_is_that_of_the_present_nets(model):
    settings = experiment(model, COCO, (384, 384))
    build = partial(create_model, model, 17, **settings.model_options.architecture())
    need = count(build, (384, 384), settings.train.precision, 16)
    listed = expected(model, (384, 384), settings.train)
    assert listed.always == need.always
    assert listed.an_image == pytest.approx(need.an_image, rel=0.01)


def test_the_largest_chunk_divides_the_batch_and_leaves_a_tenth_of_the_card():
    need = Need(always=1e9, an_image=1e9)
    assert need.largest(64, 24e9) == 16
    assert need.largest(48, 24e9) == 16
    assert need.largest(20, 24e9) == 20
    assert need.largest(64, 1e9) is None


def test_a_training_that_is_sure_not_to_fit_is_refused_with_the_chunk_that_would():
    released, controlled = (
        experiment("eeffpose-p2", COCO, (384, 288), protocol).train
        for protocol in ("released", "controlled")
    )
    need = Need(always=0.3e9, an_image=3.7e9)
    require_fit(need, released, 16, 80e9)
    message = (
        r"^train.batch_size: 64 images at a time need 237 GB of the GPU's 80 GB; set train.micro_"
        r"batch to 16 with synchronised_batch_norm false, or share the batch .*, or .* to fp16$"
    )
    with pytest.raises(PoseError, match=message):
        require_fit(need, controlled, 64, 80e9)
    with pytest.raises(
        PoseError, match=r"micro_batch: 16 images .* 60 GB .*; set train.micro_batch to 4,"
    ):
        require_fit(need, released, 16, 24e9)
    require_fit(need, released.model_copy(update={"compile": True}), 16, 24e9)


def test_a_training_looks_at_its_card_before_anything_is_on_it(data_root, tmp_path, monkeypatch):
    card = SimpleNamespace(total_memory=10**7)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    with pytest.raises(PoseError, match=r"4 images at a time need .* of the GPU's 0 GB"):
        train(small_experiment(), data_root, tmp_path, torch.device("cuda"))


def test_an_images_least_time_is_its_traffic_by_the_cards_bandwidth(
    data_root, tmp_path, monkeypatch
):
    class Told(Exception):
        pass

    def trainer(*_, floor, **__):
        raise Told(floor)

    card = SimpleNamespace(total_memory=10**11)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr("pose.train.bandwidth", lambda _: 2000)  # GB/s
    monkeypatch.setattr("pose.train.Trainer", trainer)
    chosen = small_experiment()
    with pytest.raises(Told) as told:
        train(chosen, data_root, tmp_path, torch.device("cuda"))
    build = partial(create_model, chosen.model, 17, **chosen.model_options.architecture())
    need = count(build, chosen.input_size, "fp32", 4)
    assert told.value.args == (pytest.approx(need.traffic / 2e12),)


def test_a_card_that_is_too_small_is_named_before_the_first_step():
    settings = experiment("shufflenetv2", COCO, (256, 192))
    build = partial(create_model, "shufflenetv2", 17)
    with pytest.raises(PoseError, match=r"64 images at a time need 2 GB of the GPU's 1 GB"):
        require_memory(settings, build, 10**9)


def test_the_plan_of_the_paper_tells_each_runs_chunk_for_three_sizes_of_gpus(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    plan = Plan(read(config("paper")), several=True)
    plan.check(["results/paper/coco-hrnet-w32-256x192/seed0/weights.safetensors"])
    lines = capsys.readouterr().err.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines[2 : 2 + len(plan.runs)]}
    assert len(rows) == 41
    assert rows["coco-eeffpose-p0-order8-256x192"][:3] == ["fp32", "64", "16"]
    assert rows["coco-eeffpose-p0-order8-256x192"][4:] == ["16", "32", "64"]
    assert rows["mpii-eeffpose-p2-384x384"] == ["fp16", "64", "16", "41", "8", "8", "16"]
    assert all(int(row[2]) <= int(row[-1]) for row in rows.values())  # its chunk fits 80 GB
    assert not any("none" in row for row in rows.values())


def test_of_trainings_on_one_data_set_the_longest_begins_first():
    order = {n: traffic(experiment(f"eeffpose-p0-order{n}", "coco", (64, 48))) for n in (1, 3, 8)}
    longer = experiment("eeffpose-p0-order1", "coco", (256, 192))
    assert 0 < order[1] < order[3] < order[8] < traffic(longer)
