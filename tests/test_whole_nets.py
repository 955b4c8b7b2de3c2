"""What torch.save wrote is read without unpickling; the hostile is refused, and nothing runs."""

import builtins
import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from pose.support.errors import PoseError
from pose.weights import read_state_dict

OLD = {"_use_new_zipfile_serialization": False}
REFUSED = "not a readable file of tensors only: |its tensors claim more values than the file can"


class Calls:
    """Unpickling this calls ``function``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def net() -> nn.Sequential:
    torch.manual_seed(0)
    tail = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.ConvTranspose2d(4, 2, 2, bias=False))
    return nn.Sequential(nn.Conv2d(3, 4, 3), tail).half()


def saved(path: Path, content: object, **options) -> Path:
    torch.save(content, path, **options)
    return path


def with_extra(thing: object) -> nn.Sequential:
    """A net with an attribute that holds ``thing``."""
    changed = net()
    changed.extra = thing
    return changed


@pytest.mark.parametrize("options", [{}, OLD])
def test_a_net_of_plain_layers_is_read_as_its_own_state_dict(tmp_path, options):
    ours, expected = read_state_dict(saved(tmp_path / "net", net(), **options)), net().state_dict()
    assert list(ours) and ours.keys() == expected.keys()
    assert all(torch.equal(ours[key], tensor) for key, tensor in expected.items())


def test_the_released_efficientpose_is_read_and_its_class_never_made(photographs):
    state = read_state_dict(photographs / "published" / "EfficientPoseI")
    assert len(state) == 377
    assert tuple(state["pass3_detection2_confs_convolution.weight"].shape) == (16, 144, 1, 1)


class Unknown(nn.Module):
    """A layer that is none of torch.nn's."""


def through_known_functions(ran: Path) -> list[object]:
    """What runs a command although each function that the pickle calls by itself looks known."""
    touch = Calls(os.system, f"touch {ran}")
    parameter = torch._utils._rebuild_parameter
    return [
        Calls(OrderedDict, [("a", touch)]),
        Calls(parameter, touch, False, OrderedDict()),
        Calls(torch._utils._rebuild_tensor_v2, touch, 0, (1,), (1,), False, OrderedDict()),
        Calls(torch._tensor._rebuild_from_type_v2, os.system, int, (f"touch {ran}",), {}),
        Calls(getattr, nn.Linear, "forward"),
        Calls(nn.Sequential, touch),
        Calls(set, [touch]),
        Calls(builtins.eval, f"open({str(ran)!r}, 'w')"),
        Calls(builtins.exec, f"open({str(ran)!r}, 'w')"),
        Calls(torch.load, str(ran)),
        Calls(torch.hub.load, str(ran), "x"),
        Unknown(),
    ]


@pytest.mark.parametrize("options", [{}, OLD, {"pickle_protocol": 4}])
@pytest.mark.parametrize("case", range(12))
def test_a_net_with_anything_else_in_it_is_refused_and_nothing_runs(tmp_path, case, options):
    ran = tmp_path / "ran"
    path = saved(tmp_path / "net", with_extra(through_known_functions(ran)[case]), **options)
    with pytest.raises(PoseError, match=REFUSED) as error:
        read_state_dict(path)
    assert not ran.exists()
    assert len(str(error.value).splitlines()) == 1


def instructions(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


def name(text: str) -> bytes:
    module, _, kind = text.rpartition(".")
    return f"c{module}\n{kind}\n".encode()


def text(string: str) -> bytes:
    return b"X" + struct.pack("<I", len(string)) + string.encode()


LINEAR = name("torch.nn.modules.linear.Linear")
STATE = b"}" + text("_parameters") + b"}"  # of a layer, up to its first parameter
FLOATS = b"(" + text("storage") + name("torch.FloatStorage") + text("0") + text("cpu")


def tensor(length: bytes, offset: bytes, size: bytes, stride: bytes) -> bytes:
    storage = FLOATS + length + b"tQ"
    rebuilt = name("torch._utils._rebuild_tensor_v2")
    return rebuilt + b"(" + storage + offset + size + stride + b"\x89}tR"


def layer(parameter: bytes) -> bytes:
    return LINEAR + b")\x81" + STATE + text("weight") + parameter + b"ssb"


def number(value: int) -> bytes:
    encoded = pickle.encode_long(value)
    return b"\x8a" + bytes([len(encoded)]) + encoded


def zipped(path: Path, pickled: bytes, values: int = 4) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", pickled)
        archive.writestr("net/data/0", bytes(4 * values))
        archive.writestr("net/version", b"3\n")
    return path


FOUR, ONE, NOTHING = number(4), number(1), number(0)
HONEST = tensor(FOUR, NOTHING, FOUR + b"\x85", ONE + b"\x85")


def test_an_honest_layer_made_by_hand_is_read(tmp_path):
    state = read_state_dict(zipped(tmp_path / "net", instructions(layer(HONEST))))
    assert state["weight"].tolist() == [0.0] * 4


def state_dict(**values: bytes) -> bytes:
    return b"}" + b"".join(text(key) + value + b"s" for key, value in values.items())


def test_parameters_of_pytorch_0_3_and_tied_ones_are_read(tmp_path):
    made = name("torch._utils._rebuild_tensor") + b"(" + FLOATS + FOUR + b"tQ"
    made += NOTHING + FOUR + b"\x85" + ONE + b"\x85tR"
    old = name("torch.nn.parameter.Parameter") + made + b"\x85R\x88\x89}\x87b"
    path = zipped(tmp_path / "net", instructions(state_dict(a=old, tied=HONEST, b=HONEST)))
    state = read_state_dict(path)
    assert [state[key].tolist() for key in ("a", "tied", "b")] == [[0.0] * 4] * 3


@pytest.mark.parametrize("options", [{}, OLD])
def test_a_training_s_whole_state_is_read(tmp_path, options):
    learned = net()
    optimizer = torch.optim.Adam(learned.parameters())
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [170, 200])
    state = {
        "state_dict": learned.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "random": torch.get_rng_state(),
        "facts": (torch.float16, torch.Size([2]), torch.device("cpu"), 1 + 2j, b"bytes", {(1, 2)}),
    }
    read = read_state_dict(saved(tmp_path / "checkpoint.pth", state, **options))
    assert all(torch.equal(read[key], tensor) for key, tensor in learned.state_dict().items())


HUGE = number(2**62)
LYING = {
    "more values than its storage": tensor(FOUR, NOTHING, number(5) + b"\x85", ONE + b"\x85"),
    "a storage larger than the file's": tensor(
        number(10**11), NOTHING, number(10**11) + b"\x85", ONE + b"\x85"
    ),
    "a negative storage": tensor(number(-1), NOTHING, NOTHING + b"\x85", ONE + b"\x85"),
    "an offset beyond the storage": tensor(FOUR, ONE, FOUR + b"\x85", ONE + b"\x85"),
    "a negative offset": tensor(FOUR, number(-1), FOUR + b"\x85", ONE + b"\x85"),
    "a negative size": tensor(FOUR, NOTHING, number(-4) + b"\x85", ONE + b"\x85"),
    "a negative stride": tensor(FOUR, number(3), FOUR + b"\x85", number(-1) + b"\x85"),
    "a stride beyond the storage": tensor(FOUR, NOTHING, FOUR + b"\x85", FOUR + b"\x85"),
    "sizes that overflow": tensor(FOUR, NOTHING, HUGE * 2 + b"\x86", NOTHING * 2 + b"\x86"),
    "one value in many places": tensor(FOUR, NOTHING, number(10**9) + b"\x85", NOTHING + b"\x85"),
    "no stride": tensor(FOUR, NOTHING, FOUR + b"\x85", b")"),
    "half a size": tensor(FOUR, NOTHING, b"G" + struct.pack(">d", 1.5) + b"\x85", ONE + b"\x85"),
    "a truth for a size": tensor(FOUR, NOTHING, b"\x88\x85", ONE + b"\x85"),
    "a list of sizes": tensor(FOUR, NOTHING, b"](" + FOUR + b"e", b"](" + ONE + b"e"),
    "a thousand dimensions": tensor(
        FOUR, NOTHING, b"(" + ONE * 1000 + b"t", b"(" + ONE * 1000 + b"t"
    ),
}


@pytest.mark.parametrize("lie", LYING)
def test_a_tensor_that_lies_about_its_size_is_refused(tmp_path, lie):
    with pytest.raises(PoseError, match=REFUSED) as error:
        read_state_dict(zipped(tmp_path / "net", instructions(layer(LYING[lie]))))
    assert len(str(error.value)) < 600


INERT = name("collections.OrderedDict") + b")R"
SYSTEM = name("posix.system") + text("touch ran") + b"\x85R"
DEEP = b")" + b"q\0h\0\x86" * 60  # of 2^60 tuples, to whom asks for its hash
HOSTILE = {
    "a persistent id that names a command": b"(" + text("module") + SYSTEM + b"NNtQ",
    "a persistent id that is none of torch's": text("anything") + b"Q",
    "a persistent id in text": b"Panything\n",
    "a storage of a class that is none": FLOATS.replace(b"FloatStorage", b"FloatTensor")
    + FOUR
    + b"tQ",
    "a storage that is a view": FLOATS + FOUR + b"(" + text("view") + b"ttQ",
    "one storage of two lengths": b"(" + FLOATS + FOUR + b"tQ" + FLOATS + ONE + b"tQt",
    "attributes for a class": LINEAR + b"}" + text("forward") + SYSTEM + b"sb",
    "attributes for a function": name("torch._utils._rebuild_tensor_v2")
    + b"}"
    + text("__code__")
    + b"Nsb",
    "a state of slots": LINEAR + b")\x81N}" + text("__class__") + LINEAR + b"s\x86b",
    "a layer that is called": LINEAR + ONE + ONE + b"\x86R",
    "a layer made with arguments": LINEAR + ONE + b"\x85\x81",
    "a method of a layer": name("torch.nn.modules.linear.Linear.__init__"),
    "a function that torch.nn imports": name("torch.nn.modules.linear.math"),
    "torch.nn's own module": name("torch.nn.modules"),
    "a name through an allowed module": b"ctorch._utils\nsys.modules\n",
    "an extension's number": b"\x82\x01",
    "an old instance": b"(iposix\nsystem\n",
    "a class by its place on the stack": b"\x8c\x05posix\x8c\x06system\x93",
    "a bytearray of any length": name("builtins.bytearray") + number(10**12) + b"\x85R",
    "a string longer than the file": b"X" + struct.pack("<I", 2**32 - 1) + b"a",
    "a long string longer than the file": b"\x8d" + struct.pack("<Q", 2**62) + b"a",
    "a bytearray of the pickle's own": b"\x96" + struct.pack("<Q", 2**62),
    "a tuple of tuples as a key": b"}" + DEEP + b"Ns",
    "a place in the memo that is not taken": b"j\xff\xff\xff\xff",
    "a tuple of tuples in a set": name("builtins.set") + b"](" + DEEP + b"e\x85R",
    "a tuple of tuples that is counted": name("collections.Counter") + b"}" + DEEP + b"Ns\x85R",
    "a tensor of no given values": name("torch.Tensor") + FOUR + b"\x85R",
    "a tensor of no given values, made": name("torch.FloatTensor") + FOUR + b"\x85\x81",
    "a storage of any length": name("torch.storage.UntypedStorage") + number(10**12) + b"\x85R",
    "a tensor that is given other values": HONEST
    + b"("
    + FLOATS
    + FOUR
    + b"tQ"
    + NOTHING
    + b"))tb",
    "a method through getattr": name("builtins.getattr") + LINEAR + text("forward") + b"\x86R",
    "a function in a tensor's place": name("torch._tensor._rebuild_from_type_v2")
    + name("builtins.getattr")
    + LINEAR
    + b")N(tR",
    "an empty stack": b"00",
    "no mark": b"t",
}


@pytest.mark.parametrize("attack", HOSTILE)
@pytest.mark.parametrize("old", [False, True])
def test_a_hostile_instruction_is_refused_and_nothing_runs(tmp_path, monkeypatch, attack, old):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net"
    for content in (layer(HONEST), state_dict(weight=HONEST)):
        pickled = instructions(HOSTILE[attack], content)
        if old:
            path.write_bytes(old_file(pickled))
        else:
            zipped(path, pickled)
        with pytest.raises(PoseError, match=REFUSED) as error:
            read_state_dict(path)
        assert not (tmp_path / "ran").exists()
        assert len(str(error.value).splitlines()) == 1


def test_a_storage_that_the_old_format_lacks_is_refused(tmp_path):
    path = tmp_path / "net"
    path.write_bytes(old_file(instructions(state_dict(a=HONEST)), keys=b"]", values=b""))
    with pytest.raises(PoseError, match="a tensor's storage is not in the file"):
        read_state_dict(path)


VALUES = struct.pack("<q", 4) + bytes(16)


def old_file(
    pickled: bytes, keys: bytes = b"](" + text("0") + b"e", values: bytes = VALUES
) -> bytes:
    """The format before PyTorch 1.6 around the pickle of a net."""
    buffer = io.BytesIO()
    torch.save(torch.zeros(4), buffer, **OLD)
    content = buffer.getvalue()
    file = io.BytesIO(content)
    for _ in range(3):
        pickle.load(file)
    head = content[: file.tell()]
    return head + pickled + instructions(keys) + values
