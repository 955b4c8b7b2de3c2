"""Protocols: what the paper says, what the released code does, and how a result names it."""

import hashlib
import json

import pytest

from pose.config import Experiment, experiment, parse, read_experiment
from pose.config.model_sheet import model_sheet
from pose.config.presets import protocols, recipe_of, recipes
from pose.experiment import main
from pose.support.errors import PoseError

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


def chunk(model: str, dataset: str, size: tuple[int, int], **options: object) -> int | None:
    """Samples with batch statistics of their own; None: they are the whole batch's."""
    settings = experiment(model, dataset, size, **options).train
    assert settings.synchronised_batch_norm == (settings.micro_batch is None)
    return settings.micro_batch


def test_released_has_batch_statistics_of_each_gpu_s_own_samples():
    sizes = [order(number, "released").train.micro_batch for number in range(1, 9)]
    assert sizes == [48, 48, 16, 16, 16, 16, 16, 16]
    assert chunk("eeffpose-p2", "mpii", (384, 384)) == 16
    assert {order(number, "paper").train.micro_batch for number in (1, 8)} == {16}
    assert order(1, "controlled").train.micro_batch is None


# (model, data set, input) -> the project's batch, and what each of its GPUs had of it.
BATCHES = {
    ("hrnet-w32", "coco", (256, 192)): (128, 32),
    ("hrnet-w48", "coco", (384, 288)): (96, 24),
    ("simplebaseline-r50", "coco", (256, 192)): (128, 32),
    ("litehrnet-18", "coco", (256, 192)): (512, 64),
    ("litehrnet-30", "coco", (384, 288)): (256, 32),
    ("litehrnet-18", "mpii", (256, 256)): (256, 32),
    ("mobilenetv2", "coco", (256, 192)): (512, 64),
    ("mobilenetv3", "coco", (256, 192)): (512, 64),
    ("lpn-152", "coco", (256, 192)): (128, 32),
    ("hourglass-8", "mpii", (256, 256)): (16, 16),
    ("cpn-r50", "coco", (384, 288)): (32, 32),
    ("cpn-inception", "coco", (384, 288)): (32, 32),
    ("efficientpose-1", "mpii", (256, 256)): (20, 20),
    ("efficientpose-4", "mpii", (600, 600)): (20, 10),  # ours: 20 need 110 GB
    ("danet-72", "coco", (256, 192)): (128, 32),
}


@pytest.mark.parametrize("case", BATCHES)
@pytest.mark.parametrize("protocol", ["released", "controlled"])
def test_every_recipe_has_the_batch_and_the_batch_statistics_of_its_project_s_gpus(case, protocol):
    batch = experiment(*case, protocol).train.batch_size
    assert (batch, chunk(*case, protocol=protocol)) == BATCHES[case]


def test_the_list_of_batches_has_every_recipe_and_the_common_one_shares_statistics():
    assert {recipe_of(model) for model, *_ in BATCHES} == set(recipes())
    common = {"protocol": "controlled", "recipe": "common"}
    assert chunk("hrnet-w32", "coco", (256, 192), **common) is None


@pytest.mark.parametrize(
    ("protocol", "changes", "message"),
    [
        ("controlled", {"micro_batch": 16}, r"micro_batch \(16\) has batch statistics of its own"),
        ("controlled", {"synchronised_batch_norm": False}, "false needs a micro_batch"),
        ("released", {"batch_size": 40}, "batch_size 40 is no multiple of micro_batch 16"),
    ],
)
def test_batch_statistics_that_would_depend_on_the_processes_are_refused(
    protocol, changes, message
):
    with pytest.raises(PoseError, match=f"experiment: train: .*{message}"):
        experiment("eeffpose-p0", "coco", (256, 192), protocol, overrides={"train": changes})


def test_a_batch_no_larger_than_the_micro_batch_is_one_chunk():
    small = {"train": {"batch_size": 4}}
    assert experiment("hrnet-w32", "coco", (256, 192), overrides=small).train.chunk_size == 4


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
    assert changed.protocol == "released v2 (epochs=3, lr=0.1)"
    assert changed.train.epochs == 3
    assert changed != experiment("eeffpose-p0", "coco", (256, 192))


def label(model: str, **options: object) -> str:
    return experiment(model, "coco", (256, 192), **options).protocol


def test_the_label_tells_the_recipe_and_the_numerics_from_the_bare_protocol():
    assert label("eeffpose-p0") == "released v2"
    assert label("hrnet-w32") == "released v2, hrnet recipe v2"
    assert label("hrnet-w16", protocol="controlled") == "controlled, litehrnet recipe v2"
    assert label("hrnet-w32", recipe="common") == "released v2, common recipe"
    assert label("eeffpose-p0", numerics="fast") == "released v2, fast numerics"
    changed = {"train": {"schedule": {"factor": 0.5}}, "test": {"decode": "dark"}}
    assert label("hrnet-w32", overrides=changed) == (
        "released v2, hrnet recipe v2 (schedule.factor=0.5, decode=dark)"
    )


def test_numerics_change_how_is_computed_and_nothing_else():
    plain = order(8, "released").train
    for numerics, precision in (("reference", "fp32"), ("fast", "fp16")):
        train = experiment("eeffpose-p0-order8", "coco", (256, 192), numerics=numerics).train
        on = numerics == "fast"
        names = ("channels_last", "compile", "fused", "cpu_kernels", "cudnn_benchmark")
        names += ("cuda_graph",)  # recompute and deterministic are nobody's
        changed = {**dict.fromkeys(names, on), "precision": precision}
        assert train == plain.model_copy(update=changed)


def test_the_common_recipe_trains_every_model_alike_but_for_what_its_architecture_needs():
    trainings = {
        experiment(model, "mpii", (256, 256), "controlled", recipe="common").train.model_copy(
            update={"loss": "mse"}
        )
        for model, row in model_sheet().items()
        if model == "eeffpose-p0-order1" or row["recipe"] != "protocol"
    }
    assert trainings == {order(8, "controlled").train}
    efficientpose = experiment("efficientpose-1", "mpii", (256, 256), recipe="common")
    assert efficientpose.heatmap_size == (256, 256)
    assert efficientpose.test.flip_shift == 0
    assert experiment("cpn-r50", "coco", (256, 192), recipe="common").train.loss == "cpn"


def test_projects_differ_in_training_and_in_what_their_weights_expect():
    hrnet, simple, lpn, cpn = (
        experiment(model, "coco", (256, 192))
        for model in ("hrnet-w32", "simplebaseline-r50", "lpn-50", "cpn-r50")
    )
    assert [e.train.batch_size for e in (hrnet, simple, lpn, cpn)] == [128, 128, 128, 32]
    assert [e.train.epochs for e in (hrnet, simple, lpn, cpn)] == [210, 140, 7 * 150, 32]
    assert [e.image.channels for e in (hrnet, simple, lpn, cpn)] == ["rgb", "bgr", "bgr", "rgb"]
    assert experiment("lpn-50", "mpii", (256, 256)).image.channels == "rgb"
    assert (lpn.test.decode, lpn.test.soft_argmax_beta) == ("soft_argmax", 160)
    assert (cpn.target.peak, cpn.target.offset, cpn.test.flip_shift) == (255, 0.5, 0)
    assert cpn.train.optimizer.weight_decay == 1e-5
    assert hrnet.test.oks_nms == 0.9 and order(8, "released").test.oks_nms == 0.99


def test_the_largest_hrnet_has_smaller_batches_at_the_larger_input():
    assert experiment("hrnet-w48", "coco", (256, 192)).train.batch_size == 128
    assert experiment("hrnet-w48", "coco", (384, 288)).train.batch_size == 96
    assert experiment("hrnet-w32", "coco", (384, 288)).train.batch_size == 128


def test_an_input_that_a_model_cannot_take_is_refused_when_it_is_planned():
    with pytest.raises(PoseError, match=r"input 384x288: hourglass-8 needs .* multiples of 64"):
        experiment("hourglass-8", "coco", (384, 288))
    with pytest.raises(PoseError, match=r"unknown model 'hrnet-32' \(did you mean 'hrnet-"):
        experiment("hrnet-32", "coco", (256, 192))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"protocol": "ours"}, "unknown protocol 'ours'; known are released, controlled, paper"),
        ({"protocol": "release"}, r"unknown protocol 'release' \(did you mean 'released'"),
        ({"numerics": "quick"}, "unknown numerics preset 'quick'"),
        ({"recipe": "mine"}, "recipe: Input should be 'own' or 'common', got 'mine'"),
    ],
)
def test_an_unknown_preset_is_named(chosen, message):
    with pytest.raises(PoseError, match=message):
        experiment("hrnet-w32", "coco", (256, 192), **chosen)


def test_two_ways_to_warm_up_exclude_each_other():
    with pytest.raises(PoseError, match="warmup_epochs or warmup_steps, not both"):
        experiment("eeffpose-p0", "coco", (256, 192), overrides={"train": {"warmup_steps": 500}})


@pytest.mark.parametrize("protocol", ["released", "paper", "controlled"])
def test_a_protocol_starts_heads_and_rounds_centres_as_released(protocol):
    assert order(1, protocol).model_options.head_weight == 1
    assert not order(1, protocol).target.unbiased


SCRATCH = "model_options.init=scratch"


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        (
            "eeffpose-p0",
            ["model_options.head_weight=0.1"],
            "model_options: head_weight is for init",
        ),
        ("eeffpose-p0", [SCRATCH, "model_options.head_weight=0"], "model_options.head_weight: Inp"),
        ("cpn-r50", ["target.unbiased=true"], "target.unbiased: the loss cpn has rounded centres"),
    ],
)
def test_a_start_or_a_target_that_a_model_cannot_have_is_named(model, settings, message):
    with pytest.raises(SystemExit, match=f"^error: experiment: {message}"):
        main([model, *(word for setting in settings for word in ("--set", setting))])


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


def test_the_command_prints_an_experiment_that_the_others_read(capsys):
    main(["hrnet-w32", "--input", "384x288", "--set", "train.epochs=3", "--set", "test.flip=false"])
    resolved = read_experiment(capsys.readouterr().out)
    overrides = {"train": {"epochs": 3}, "test": {"flip": False}}
    assert resolved == experiment("hrnet-w32", "coco", (384, 288), overrides=overrides)


@pytest.mark.parametrize(
    ("protocol", "version", "settings"),
    [("released", 2, "d7ca6635"), ("controlled", 1, "584314fb"), ("paper", 2, "4d67dfda")],
)
def test_a_changed_protocol_gets_a_new_version(protocol, version, settings):
    """After a change: a line in protocols.yaml's ``versions``, and here the new digest."""
    stack = {key: value for key, value in protocols()[protocol].items() if key != "versions"}
    assert len(protocols()[protocol]["versions"]) == version
    assert hashlib.sha256(json.dumps(stack, sort_keys=True).encode()).hexdigest()[:8] == settings


def test_from_its_second_version_on_a_protocol_s_label_tells_it(monkeypatch):
    changed = protocols() | {"released": protocols()["released"] | {"versions": ["a", "b", "c"]}}
    monkeypatch.setattr("pose.config.presets.protocols", lambda: changed)
    assert experiment("hrnet-w32", "coco", (256, 192)).protocol == "released v3, hrnet recipe v2"


@pytest.mark.parametrize(
    "setting",
    ["image.std=[0, 1, 1]", "image.mean=[.nan, 0, 0]", "train.lr=.inf", "target.sigma=.inf"],
)
def test_a_setting_that_makes_no_finite_numbers_is_named(setting):
    with pytest.raises(SystemExit, match=f"^error: experiment: {setting.partition('=')[0]}"):
        main(["eeffpose-p0-order1", "--set", setting])


@pytest.mark.parametrize(
    "value", ["[1,", "2020-13-45", "!!python/object:os.system x", "@", "[" * 999]
)
def test_a_value_that_is_no_yaml_is_one_line(value):
    with pytest.raises(SystemExit, match=r"^error: --set train.epochs=[^\n]* is not valid YAML$"):
        main(["eeffpose-p0-order1", "--set", f"train.epochs={value}"])


def test_an_experiment_file_that_says_a_thing_twice_is_refused(tmp_path):
    path = tmp_path / "e.json"
    text = experiment("hrnet-w32", "coco", (256, 192)).model_dump_json()
    path.write_text(text.replace('{"model"', '{"seed": 1, "model"', 1))
    with pytest.raises(PoseError, match=r"e\.json: .*'seed' stands twice"):
        read_experiment(str(path))
    path.write_text("[]")
    with pytest.raises(PoseError, match=r"e\.json: should be a mapping"):
        read_experiment(str(path))
