"""The net as a graph, found by running it: ``python -m pose.graph MODEL... --input 256x192``.

The net runs once on the meta device, where tensors have a size but no content. Every operator that
the image reaches is recorded with the modules it belongs to. A node of the graph is a module that
returns one tensor, or a single operator between such modules. The net, its parts and modules that
return several tensors are opened, so that what flows between the scales is seen.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pose.support import cli
from pose.support.errors import command
from pose.support.files import write_file


def command_line() -> cli.Parser:
    """The options."""
    parser = cli.parser("pose.graph", __doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="a name of the model registry")
    parser.add_argument("--input", required=True, metavar="HxW", help="such as 256x192")
    parser.add_argument("--num-keypoints", type=cli.whole(1, 10_000), default=17)
    parser.add_argument("--output", type=cli.output_file(), required=True, help="a JSON file")
    return parser


cli.answer_early(__name__, command_line)

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pose.complexity import input_size, params_of
from pose.models import create_model
from pose.models.family import PoseModel

IMAGE = "image"


@dataclass(eq=False)
class Call:
    """One call of a module: its name in the net, and whether the graph shows what is inside."""

    name: str
    module: nn.Module
    opened: bool = False
    shape: list[int] | None = None


@dataclass(eq=False)
class Operation:
    """One operator: the calls around it, outermost first, and the operators that it read."""

    kind: str
    calls: list[Call]
    inputs: list[Operation]
    shape: list[int]

    @property
    def node(self) -> Call | Operation:
        """The node that it is part of: the outermost call that is not opened, or itself."""
        return next((call for call in self.calls if not call.opened), self)

    @property
    def block(self) -> str:
        """The innermost opened module around its node, "" for the net itself."""
        names = [call.name for call in self.calls]
        depth = next((i for i, call in enumerate(self.calls) if not call.opened), len(names))
        return names[depth - 1] if depth else ""


class Recorder(TorchDispatchMode):
    """Records the operators that depend on the image while the net runs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.stack: list[Call] = []
        self.sources: dict[int, Operation] = {}
        self.alive: list[Tensor] = []  # so that no address is used again
        for name, module in model.named_modules():
            module.register_forward_pre_hook(lambda m, _, name=name: self.enter(name, m))
            module.register_forward_hook(lambda m, _, output: self.leave(output))

    def enter(self, name: str, module: nn.Module) -> None:
        self.stack.append(Call(name, module))

    def leave(self, output: Any) -> None:
        call = self.stack.pop()
        part = "." not in call.name and any(True for _ in call.module.children())
        call.opened = part or not isinstance(output, Tensor)
        call.shape = None if call.opened else list(output.shape[1:])

    def add(self, kind: str, inputs: list[Operation], outputs: list[Tensor]) -> None:
        operation = Operation(kind, list(self.stack), inputs, list(outputs[0].shape[1:]))
        self.operations.append(operation)
        self.alive += outputs
        self.sources.update({id(tensor): operation for tensor in outputs})

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        outputs = operator(*args, **(kwargs or {}))
        read = [self.sources.get(id(leaf)) for leaf in tree_leaves((args, kwargs))]
        if inputs := [source for source in dict.fromkeys(read) if source]:
            tensors = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
            self.add(operator._schema.name.removeprefix("aten::"), inputs, tensors)
        return outputs


def trace(model: PoseModel, size: tuple[int, int]) -> dict[str, Any]:
    """The graph of a net, in eval mode, for an image of ``size`` (height, width) in pixels.

    ``parts``: kind and parameters of the modules that the net directly consists of; ``blocks``: the
    kinds of the opened modules. ``nodes`` are in the order of computation, the image first: the
    ``name`` of the module, "" for an operator; the opened ``block`` it lies in; its ``kind``, and
    how many ``repeats`` of that kind it is; ``shape`` (channels, height, width); ``params``; and
    the numbers of the nodes that are its ``inputs``.
    """
    model, images = deepcopy(model).to("meta").eval(), torch.empty(1, 3, *size, device="meta")
    recorder = Recorder(model)
    recorder.add(IMAGE, [], [images])
    with torch.no_grad(), recorder:
        model(images)
    groups: dict[Call | Operation, list[Operation]] = {}
    for operation in recorder.operations:
        groups.setdefault(operation.node, []).append(operation)
    numbers = {node: number for number, node in enumerate(groups)}
    nodes = []
    for node, operations in groups.items():
        inputs = {numbers[read.node] for one in operations for read in one.inputs}
        nodes.append(_described(node, operations) | {"inputs": sorted(inputs - {numbers[node]})})
    parts = {
        part: {"kind": type(module).__name__, "params": params_of(module)}
        for part, module in model.named_children()
    }
    blocks = {
        call.name: type(call.module).__name__
        for operation in recorder.operations
        for call in operation.calls
        if call.opened and call.name
    }
    about = {"model": model.name, "input": list(size), "params": params_of(model)}
    return about | {"parts": parts, "blocks": blocks, "nodes": nodes}


def _described(node: Call | Operation, operations: list[Operation]) -> dict[str, Any]:
    row = {"name": "", "block": operations[0].block, "kind": "", "repeats": 1}
    if isinstance(node, Operation):
        return row | {"kind": node.kind, "shape": node.shape, "params": 0}
    kinds = [type(child).__name__ for child in node.module.children()]
    same = isinstance(node.module, nn.Sequential) and len(set(kinds)) == 1
    return row | {
        "name": node.name,
        "kind": kinds[0] if same else type(node.module).__name__,
        "repeats": len(kinds) if same else 1,
        "shape": node.shape,
        "params": params_of(node.module),
    }


@command
def main(argv: list[str] | None = None) -> None:
    args = command_line().parse_args(argv)
    size = input_size(args.input)
    with torch.device("meta"):
        models = [create_model(model, args.num_keypoints) for model in args.models]
    graphs = [trace(model, size) for model in models]
    write_file(args.output, json.dumps(graphs).encode())


if __name__ == "__main__":
    main()
