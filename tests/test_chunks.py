"""A batch in chunks, what fp16 skips, and how numbers lie and travel in a training step."""

import json

import pytest
import torch
from recording import imitate_a_gpu
from test_training import assert_equal_runs, interrupt_after
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from training_runs import CPU, Infinite, TinyNet, small_experiment, tiny_trainer

from pose.parallel.flat import Flat
from pose.parallel.global_batch import see_global_batch
from pose.support.device import arithmetic
from pose.support.errors import PoseError
from pose.targets.heatmap import constant
from pose.training import checkpoint
from pose.training.activations import count
from pose.training.step import Stepper, batch_loss, recordable

CHUNKS = {"batch_size": 8, "micro_batch": 2, "synchronised_batch_norm": False}


def batch(images: int) -> dict[str, torch.Tensor]:
    """Random crops of the small experiment's size."""
    generator = torch.Generator().manual_seed(0)
    joints = 40 * torch.rand(images, 17, 2, generator=generator)
    crops = torch.randint(256, (images, 64, 48, 3), generator=generator, dtype=torch.uint8)
    return {"image": crops, "joints": joints, "visible": torch.ones(images, 17)}


def stepper(net: nn.Module, lr: float = 0.0, **train: object) -> Stepper:
    optimizer = torch.optim.Adam(net.parameters(), lr, fused=True)
    return Stepper(net, optimizer, small_experiment(**train), CPU)


def without_dropout() -> TinyNet:
    torch.manual_seed(0)
    net = TinyNet()
    net.layers[2] = nn.Identity()
    return net.train()


def test_chunks_have_their_own_statistics_add_up_gradients_and_keep_the_first_s_statistics():
    whole, net, alone = batch(8), without_dropout(), without_dropout()
    loss, _ = stepper(net, **CHUNKS)(whole, 0)
    gradients, losses = [], []
    for first in range(0, 8, 2):
        alone.zero_grad()
        chunk = {name: values[first : first + 2] for name, values in whole.items()}
        losses.append(batch_loss(alone, chunk, small_experiment(), 0, CPU))
        losses[-1].backward()
        gradients.append([p.grad.clone() for p in alone.parameters()])
        if first == 0:
            statistics = [buffer.clone() for buffer in alone.buffers()]
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    for mine, *each in zip(net.parameters(), *gradients, strict=True):
        torch.testing.assert_close(mine.grad, torch.stack(each).mean(0))
    for mine, first in zip(net.buffers(), statistics, strict=True):
        assert torch.equal(mine, first)


def test_dropout_is_drawn_for_the_whole_batch_whatever_the_chunks():
    class Drop(nn.Module):
        """Heat maps of one after dropout; batch statistics play no part."""

        def __init__(self) -> None:
            super().__init__()
            self.drop, self.scale = nn.Dropout(0.5), nn.Parameter(torch.ones(1))
            self.seen = []

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            maps = self.drop(torch.ones(len(images), 17, 16, 12)) * self.scale
            self.seen.append(maps.detach())
            return maps

    drawn = []
    for settings in ({"batch_size": 8}, CHUNKS):
        net = Drop().train()
        stepper(net, **settings)(batch(8), 3)
        drawn.append(torch.cat(net.seen))
    assert torch.equal(*drawn) and 0 < drawn[0].mean() < 2


def test_a_training_in_chunks_resumes_to_the_bit(data_root, tmp_path):
    tiny_trainer(data_root, tmp_path / "whole", **CHUNKS).run()
    interrupted = tiny_trainer(data_root, tmp_path / "broken", **CHUNKS)
    interrupt_after(interrupted, 2)
    with pytest.raises(PoseError, match="stopped by SIGTERM"):
        interrupted.run()
    tiny_trainer(data_root, tmp_path / "broken", **CHUNKS).run()
    assert_equal_runs(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.slow
def test_compiled_code_serves_every_chunk():
    from torch._dynamo.testing import CompileCounter

    net = TinyNet().train()
    part, counter = see_global_batch(net, 4, False, CPU), CompileCounter()
    compiled = torch.compile(net, backend=counter, dynamic=False)
    for number in range(4):
        part.fill_(number)
        compiled(torch.randn(2, 3, 64, 48)).sum().backward()
    assert counter.frame_count == 1


def test_a_step_that_overflows_fp16_changes_nothing_but_the_scale():
    net = without_dropout()
    take_step = stepper(net, 0.1, precision="fp16")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    take_step.net = Infinite(net)
    loss, scale = take_step(batch(4), 0)
    assert loss.isinf() and scale == 2**15
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    loss, scale = take_step(batch(4), 1)
    assert loss.isfinite() and scale == 2**15
    assert not torch.equal(net.layers[3].weight, before["layers.3.weight"])


def test_skipped_steps_and_the_scale_are_logged_and_stay_out_of_the_mean_loss(data_root, tmp_path):
    trainer = tiny_trainer(data_root, tmp_path, precision="fp16", epochs=1, warmup_epochs=0)
    trainer.take_step.net = Infinite(trainer.model)
    trainer.run()
    steps, epoch = map(json.loads, (tmp_path / "performance.jsonl").read_text().splitlines())
    assert steps["loss_scale"] == 2**15
    assert steps["skipped_steps"] == epoch["skipped_steps"] == 1
    assert 0 < epoch["loss"] < 1 and epoch["loss"] == steps["loss"]


def test_a_scale_that_collapses_ends_the_training_in_one_line(data_root, tmp_path):
    trainer = tiny_trainer(data_root, tmp_path, precision="fp16")
    trainer.scaler.load_state_dict(trainer.scaler.state_dict() | {"scale": 1.0})
    trainer.take_step.net = Infinite(trainer.model)
    with pytest.raises(PoseError, match=r"the loss's scale has fallen to 0\.5 in epoch -1, step 0"):
        trainer.run()


@pytest.mark.parametrize("channels_last", [True, False])
def test_activations_lie_as_the_setting_says(channels_last):
    net, seen = without_dropout(), []
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for layer in net.to(memory_format=layout).layers:
        layer.register_forward_hook(lambda _, inputs, output: seen.extend([*inputs, output]))
    batch_loss(net, batch(2), small_experiment(channels_last=channels_last), 0, CPU)
    assert len(seen) == 8
    assert all(x.is_contiguous(memory_format=layout) for x in seen)
    assert not any(x.is_contiguous() for x in seen) or not channels_last


class HostWaits(TorchDispatchMode):
    """Notes what makes the host wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        device = str(kwargs.get("device"))
        blocking = "_to_copy" in str(operator) and not kwargs.get("non_blocking")
        if "_local_scalar_dense" in str(operator) or (blocking and "cuda" in device):
            self.found.append(f"{operator} {args[0].shape}")
        return operator(*args, **kwargs)


@pytest.mark.parametrize("loss", ["mse", "cpn"])
def test_no_step_waits_for_the_device(loss):
    settings, gpu, crops = small_experiment(loss=loss), torch.device("cuda"), batch(4)
    first, later = HostWaits(), HostWaits()
    constant.cache_clear()
    with FakeTensorMode(allow_non_fake_inputs=True):
        outputs = [torch.zeros(4, 17, 16, 12, device=gpu)] * (5 if loss == "cpn" else 1)
        for waits in (first, later):
            with waits:
                batch_loss(lambda images: outputs, crops, settings, 0, gpu)
    constant.cache_clear()
    assert first.found  # the constants that later steps use
    assert later.found == []


@pytest.mark.parametrize("chosen", [{}, {"precision": "fp16"}, CHUNKS, {"cuda_graph": True}])
def test_a_whole_step_reads_no_number_from_the_device(chosen, monkeypatch):
    if chosen.get("cuda_graph"):
        imitate_a_gpu(monkeypatch)
    take = stepper(TinyNet().train(), 0.01, **chosen)
    whole = batch(take.experiment.train.batch_size)
    before = take.model.layers[0].weight.clone()
    with HostWaits() as waits:
        for number in range(2):
            take(whole, number)
    assert not torch.equal(take.model.layers[0].weight, before)
    assert waits.found == []


def test_fp32_is_not_tf32_unless_it_is_asked_for_and_evaluation_never_is():
    cudnn = torch.backends.cudnn
    outside = (cudnn.allow_tf32, cudnn.benchmark, torch.are_deterministic_algorithms_enabled())
    with arithmetic(tf32=True, benchmark=True, deterministic=True):
        assert cudnn.allow_tf32 and cudnn.benchmark and cudnn.deterministic
        assert torch.are_deterministic_algorithms_enabled()
        with arithmetic():
            assert not (cudnn.allow_tf32 or cudnn.benchmark or cudnn.deterministic)
    assert outside == (
        *(cudnn.allow_tf32, cudnn.benchmark),
        torch.are_deterministic_algorithms_enabled(),
    )


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_a_training_computes_by_its_own_flags(data_root, tmp_path, precision):
    trainer = tiny_trainer(data_root, tmp_path, precision=precision, cudnn_benchmark=True, epochs=1)
    take, seen = trainer.take_step, set()

    def looking(*arguments: object) -> object:
        seen.add((torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark))
        return take(*arguments)

    trainer.take_step = looking
    trainer.run()
    assert seen == {(precision == "tf32", True)}


def test_a_checkpoint_tells_gpu_cudnn_and_flags(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    settings = small_experiment(deterministic=True).train
    told = checkpoint.versions("aaaaaaaa", settings, torch.device("cuda", 0))
    assert (told["gpu"], told["cudnn"], told["deterministic"]) == ("NVIDIA H100", "91002", "True")
    assert "gpu" not in checkpoint.versions("aaaaaaaa", settings, CPU)


def test_many_tensors_travel_as_one_of_each_type():
    tensors = [torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)]
    tensors += [torch.tensor(7), torch.randn(3)]
    kept = [tensor.clone() for tensor in tensors]
    flat = Flat(tensors)
    vectors = flat.read()
    assert [len(vector) for vector in vectors] == [123, 1]
    for tensor in tensors:
        tensor.zero_()
    flat.write(vectors)
    assert all(map(torch.equal, tensors, kept))


@pytest.mark.parametrize("activation", [nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid])
def test_activations_that_need_their_input_backward_do_not_write_over_it_in_training(activation):
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Conv2d(3, 17, 4, 4), activation(inplace=True)) for _ in "ab"]
    nets[1].load_state_dict(nets[0].state_dict())
    batch_loss(nets[0], batch(2), small_experiment(), 0, CPU).backward()
    stepper(nets[1])(batch(2), 0)
    assert [net[1].inplace for net in nets] == [True, False]
    assert torch.equal(nets[0][0].weight.grad, nets[1][0].weight.grad)


def test_a_cpu_that_cannot_record_steps_takes_them_one_by_one():
    losses = []
    for recorded in (False, True):
        take = stepper(without_dropout(), 0.01, cuda_graph=recorded)
        losses.append([take(batch(4), step)[0].item() for step in range(2)])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("chosen", [{}, {"precision": "fp16"}, CHUNKS])
def test_a_recorded_step_is_the_eager_one_with_its_draws_and_statistics(monkeypatch, chosen):
    imitate_a_gpu(monkeypatch)
    told = []
    for recorded in (False, True):
        torch.manual_seed(0)
        net = TinyNet().train()
        take = stepper(net, 0.01, **chosen, cuda_graph=recorded)
        whole = batch(take.experiment.train.batch_size)
        told.append([value.clone() for step in range(3) for value in take(whole, step)])
        told[-1] += [*net.state_dict().values(), *(p.grad for p in net.parameters())]
        assert (take.recorded is not None) == recorded
    assert all(map(torch.equal, *told)) and len(set(map(float, told[0][:6:2]))) == 3


def test_pages_may_be_locked_by_the_loader_s_thread_while_a_step_is_recorded(monkeypatch):
    modes = imitate_a_gpu(monkeypatch)
    stepper(without_dropout(), cuda_graph=True)(batch(4), 0)
    assert modes == ["thread_local"]  # "global" forbids it to all threads, and fails


def test_a_chunk_is_recorded_unless_processes_share_statistics_in_its_midst():
    shared = small_experiment(cuda_graph=True).train
    own = small_experiment(cuda_graph=True, **CHUNKS).train
    card = torch.device("cuda")
    assert shared.synchronised_batch_norm and not own.synchronised_batch_norm
    assert recordable(shared, card, 1) and recordable(own, card, 4)
    assert not recordable(shared, card, 4) and not recordable(own, CPU, 1)


def test_blocks_that_are_computed_again_give_the_same_gradients_and_statistics_for_less_memory():
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            parts = (nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout(0.5))
            self.layers = nn.Sequential(*parts, nn.Conv2d(8, 3, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.layers(x)

    def build() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(Branch(), Branch(), nn.Conv2d(3, 17, 4, 4))

    states, needs = [], []
    for recompute in (False, True):
        net = build()
        stepper(net, recompute=recompute)(batch(4), 0)
        states.append([p.grad for p in net.parameters()] + list(net.buffers()))
        needs.append(count(build, (64, 48), "fp32", 4, recompute).an_image)
    assert all(map(torch.equal, *states))
    assert needs[1] < 0.3 * needs[0]
