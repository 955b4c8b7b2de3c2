"""Every model trains by its own recipe, and the sheet of models says which one that is."""

import csv
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from pose.config import Experiment, experiment
from pose.config.model_sheet import row_of
from pose.config.presets import recipe_of, recipes
from pose.data.dataset import PoseDataset
from pose.data.samples import open_split
from pose.data.synthetic.render import write_dataset
from pose.data.synthetic.rendered import SyntheticSettings
from pose.models import create_model, list_models
from pose.support.errors import PoseError
from pose.train import train
from pose.training.optimizer import create_optimizer
from pose.training.schedule import Schedule
from pose.training.step import batch_loss
from pose.weights import catalogue

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")
SIZE = (64, 64)
# One of each loss and shape of training output: one map, one a stack, CPN's five, EfficientPose's
# fields and two sizes of maps.
VARIED = ("hrnet-w16", "hourglass-2", "cpn-r50", "efficientpose-1")


@pytest.fixture(scope="module")
def data_root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("people") / "data"
    write_dataset(folder, SyntheticSettings(train_images=6, val_images=2))
    return folder


def miniature(model: str, **settings: object) -> Experiment:
    """The model's own recipe, cut to one short epoch from scratch."""
    overrides = {
        "model_options": {"init": "scratch"},
        "train": {"batch_size": 4, "epochs": 1, "warmup_epochs": 0, "warmup_steps": 0, **settings},
    }
    return experiment(model, "synthetic", SIZE, overrides=overrides)


def test_every_model_has_a_recipe_and_every_recipe_models():
    used = {recipe_of(model) for model in list_models()}
    assert used - {None} == set(recipes())
    assert all((recipe_of(m) is None) == m.startswith("eeffpose-") for m in list_models())


def test_the_sheet_names_recipe_weights_and_reconstructions():
    with (ROOT / "config/models.tsv").open() as text:
        sheet = {row["model"]: row for row in csv.DictReader(text, delimiter="\t")}
    assert list(sheet) == list_models()
    for model, row in sheet.items():
        assert row["recipe"] == (recipe_of(model) or "protocol")
        files = [f.name for f in catalogue().values() if f.input and f.model == model]
        assert row["weights"].split() == (files or ["-"])
    rebuilt = {model for model, row in sheet.items() if row["reconstruction"] == "true"}
    assert rebuilt == {"danet-72", "danet-88", "danet-102", "cpn-inception"}


@pytest.mark.parametrize("model", [m for m in list_models() if not m.startswith("eeffpose-")])
def test_a_plan_refuses_the_inputs_that_the_model_refuses(model):
    multiple = int(row_of(model)["multiple"])
    net = create_model(model, 17).eval()
    experiment(model, "coco", (4 * multiple, 8 * multiple))
    wrong = (4 * multiple, 4 * multiple + multiple // 2)
    with pytest.raises(PoseError):
        experiment(model, "coco", wrong)
    with pytest.raises(PoseError), torch.inference_mode():
        net(torch.zeros(1, 3, *wrong))


@pytest.mark.parametrize("model", VARIED)
def test_a_few_steps_of_a_model_s_own_recipe_lower_its_loss(model, data_root):
    settings = miniature(model)
    samples = open_split("synthetic", data_root, "train", SIZE)
    dataset = PoseDataset(samples, SIZE)
    batch = torch.utils.data.default_collate([dataset[index] for index in range(4)])
    torch.manual_seed(0)
    net = create_model(model, 17, **settings.model_options.architecture()).train()
    optimizer = create_optimizer(net, settings.train)
    losses = []
    for step in range(6):
        loss = batch_loss(net, batch, settings, step, CPU)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(torch.tensor(losses).isfinite())
    assert losses[-1] < losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("model", list_models())
def test_a_miniature_training_of_every_model_by_its_own_recipe(model, data_root, tmp_path):
    train(miniature(model, batch_size=2), data_root, tmp_path, CPU)
    (epoch,) = [json.loads(line) for line in (tmp_path / "training.jsonl").read_text().splitlines()]
    assert 0 < epoch["loss"] < float("inf")
    assert epoch["AP"] >= 0
    assert (tmp_path / "best.safetensors").exists()


def rates(model: str, *epochs: float) -> list[float]:
    """The learning rate of a model's own recipe at these epochs, of 1000 steps each."""
    settings = experiment(model, "mpii", (256, 256)).train
    optimizer = create_optimizer(nn.Linear(1, 1), settings)
    schedule = Schedule(optimizer, settings, 1000)
    shown = [schedule.before_step(round(1000 * epoch)) for epoch in epochs]
    assert optimizer.param_groups[0]["lr"] == shown[-1]
    return shown


def test_hrnet_drops_twice():
    assert rates("hrnet-w32", 0, 169.999, 170, 199.999, 200) == pytest.approx(
        [1e-3, 1e-3, 1e-4, 1e-4, 1e-5]
    )


def test_lite_hrnet_warms_up_over_500_steps():
    assert rates("litehrnet-18", 0, 0.249, 0.499, 1) == pytest.approx([4e-6, 1e-3, 2e-3, 2e-3])


def test_every_stage_of_lpn_starts_with_the_first_rate_again():
    at = [1e-3, 1e-4, 1e-5]
    assert rates("lpn-50", 0, 90, 120, 150, 240, 270, 6 * 150, 1049) == pytest.approx(
        [*at, *at, 1e-3, 1e-5]
    )


def test_cpn_halves_its_rate_every_six_epochs():
    assert rates("cpn-r50", 5, 6, 12, 31) == pytest.approx([5e-4, 2.5e-4, 1.25e-4, 5e-4 / 32])


def test_efficientpose_s_rate_rises_and_falls_in_cycles():
    assert rates("efficientpose-1", 0, 1.5, 3, 4.5, 6, 9) == pytest.approx(
        [1e-4, 5.5e-4, 1e-3, 5.5e-4, 1e-4, 1e-3]
    )


def test_sgd_has_its_momentum_and_decay():
    chosen = {"optimizer": {"name": "sgd", "momentum": 0.8, "weight_decay": 0.01}}
    optimizer = create_optimizer(nn.Linear(1, 1), miniature("hrnet-w16", **chosen).train)
    assert isinstance(optimizer, torch.optim.SGD)
    group = optimizer.param_groups[0]
    assert (group["momentum"], group["weight_decay"], group["lr"]) == (0.8, 0.01, 0.002)
