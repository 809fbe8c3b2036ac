"""A network written down as a list of steps, by torch.fx, and divided into its layers."""

import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, fx, nn

from nas.models.exporting import plain_layers
from nas.models.inference.ready import FoldedLayers

PLAIN_CLASSES = tuple(
    member for member in vars(plain_layers).values() if isinstance(member, type) and issubclass(member, nn.Module)
)


@dataclass(frozen=True, slots=True)
class Section:
    """Steps that follow each other and belong together.

    Attributes:
        root: Dotted name of the layer; empty for steps of the network itself.
        nodes: The steps.
    """

    root: str
    nodes: list[fx.Node]


class LayerTracer(fx.Tracer):
    """Notes what a network does with an example; torch's layers, and sequences of these, are one step each.

    Every step is computed as well, so that a branch by a shape goes the way the example goes.

    Args:
        example: Images (N, C, H, W).
    """

    proxy_buffer_attributes = True

    def __init__(self, example: Tensor) -> None:
        super().__init__()
        self.example = example
        self._computing = False

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        """Whether a module is one step."""
        return is_plain(m)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **more: Any) -> fx.Proxy:
        """Notes a step and computes it."""
        proxy = super().create_proxy(kind, target, args, kwargs, *rest, **more)
        self._computing = True
        try:
            proxy.node.meta["value"] = self._compute(proxy.node)
        finally:
            self._computing = False
        return proxy

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Notes a module as a step or looks into it; while a step is computed its modules are only called."""
        return forward(*args, **kwargs) if self._computing else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Notes that weights are read; while a step is computed they are only read."""
        return attr_val if self._computing else super().getattr(attr, attr_val, parameter_proxy_cache)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Whether a condition by shapes holds for the example; one by what images show is refused."""
        if isinstance(obj.node.meta["value"], Tensor):
            raise fx.proxy.TraceError("it branches by what the images show")
        return bool(obj.node.meta["value"])

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """Yields the parts of a value."""
        return (operator.getitem(obj, i) for i in range(len(obj.node.meta["value"])))

    def _compute(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self.example
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda argument: argument.meta["value"])
        if node.op == "call_function":
            return node.target(*args, **kwargs)  # type: ignore[operator]
        if node.op == "call_method":
            if node.target in ("item", "tolist"):
                raise fx.proxy.TraceError(f"it takes numbers out of tensors by {node.target}()")
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        if node.op == "call_module":
            return self.root.get_submodule(str(node.target))(*args, **kwargs)
        return args[0] if node.op == "output" else operator.attrgetter(str(node.target))(self.root)


def is_plain(module: nn.Module) -> bool:
    """Whether a module is a layer of torch or of `nas.models.exporting.plain_layers`, or a sequence of these."""
    if type(module).forward is nn.Sequential.forward:
        return all(is_plain(child) for child in module.children())
    container = isinstance(module, nn.ModuleList | nn.ModuleDict | nn.ParameterList | nn.ParameterDict)
    return type(module) in PLAIN_CLASSES or (type(module).__module__.startswith("torch.nn.modules.") and not container)


@torch.no_grad()
def trace(model: nn.Module, example: Tensor) -> fx.Graph:
    """Returns the steps of a model in evaluation mode.

    Raises:
        ValueError: If the model does what cannot be written down, such as branching by what an image shows.
    """
    try:
        graph = LayerTracer(example).trace(model)
    except (fx.proxy.TraceError, TypeError, AttributeError, NotImplementedError) as error:
        raise ValueError(f"the network cannot be written as source code: {error}") from error
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op not in ("placeholder", "output"):  # read for a branch and for nothing else
            graph.erase_node(node)
    return graph


def sections(model: nn.Module, graph: fx.Graph) -> list[Section]:
    """Divides the steps, the first and the last left out, into layers; what stands between is of the network itself."""
    nodes = [node for node in graph.nodes if node.op not in ("placeholder", "output")]
    reading = {name for name, module in model.named_modules() if isinstance(module, FoldedLayers)}
    roots = _layer_names(model, folded=bool(reading))
    names = [next((root for root in roots if f"{_path(node)}.".startswith(f"{root}.")), "") for node in nodes]
    for i, node in reversed(list(enumerate(nodes[:-1]))):
        if not names[i] and _path(node) in reading:  # joins what the next layer reads
            names[i] = names[i + 1]
    groups = groupby(zip(names, nodes, strict=True), key=operator.itemgetter(0))
    return [Section(name, [node for _, node in pairs]) for name, pairs in groups]


def _layer_names(model: nn.Module, *, folded: bool) -> list[str]:
    """Returns the dotted names of the layers of the networks of this package."""
    plain = r"network\.layers\.\d+|network\.stages\.\d+\.\d+"
    pattern = r"network\.(layers|stages)\.0\.layers\.\d+" if folded else plain
    return [name for name, _ in model.named_modules() if re.fullmatch(pattern, name)]


def _path(node: fx.Node) -> str:
    """Returns the dotted name of the module that a step is in or is."""
    if node.op in ("call_module", "get_attr"):
        return str(node.target)
    stack = node.meta.get("nn_module_stack") or {"": None}
    return str(list(stack)[-1])
