"""Parts of a model written as Python: a layer's constructor, an argument, a call."""

import inspect
import math
import operator
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from nas.models.exporting import plain_layers

SIGNS: dict[Any, str] = {
    operator.add: "{} + {}",
    operator.sub: "{} - {}",
    operator.mul: "{} * {}",
    operator.truediv: "{} / {}",
    operator.floordiv: "{} // {}",
    operator.mod: "{} % {}",
    operator.neg: "-{}",
}
"""The expression that is written in the place of a call, by the function."""

CONTAINERS = ("network", "module", "cell", "ops")  # parts of a layer's dotted name that say nothing in a readable one


def constructor(layer: nn.Module, *, indent: int = 0) -> str:
    """Returns the expression that makes a layer, weights aside.

    Args:
        layer: One of torch's or of `nas.models.exporting.plain_layers`, or a sequence of these.
        indent: Spaces before the lines after the first.
    """
    if type(layer).forward is nn.Sequential.forward:
        inner = " " * (indent + 4)
        parts = "".join(f"{inner}{constructor(part, indent=indent + 4)},\n" for part in layer.children())
        return f"nn.Sequential(\n{parts}{' ' * indent})"
    write = WRITTEN.get(type(layer))
    return f"nn.{layer!r}" if write is None else write(layer)


def expression(node: fx.Node, name_of: Callable[[fx.Node], str], attribute: str) -> str:
    """Returns the right-hand side of a step.

    Args:
        node: The step.
        name_of: Gives the variable that holds the result of an earlier step.
        attribute: That holds the step's layer or weight; for other steps anything.

    Raises:
        ValueError: If the step calls a function that is not torch's or Python's.
    """
    args = [argument(value, name_of) for value in node.args]
    named = [
        f"{key}={argument(value, name_of)}"
        for key, value in node.kwargs.items()
        if not (key == "inplace" and value is False)
    ]
    if node.op == "get_attr":
        return f"self.{attribute}"
    if node.op == "call_module":
        return f"self.{attribute}({', '.join([*args, *named])})"
    if node.op == "call_method":
        return f"{args[0]}.{node.target}({', '.join([*args[1:], *named])})"
    if node.target in SIGNS:
        return SIGNS[node.target].format(*args)
    if node.target is operator.getitem:
        return f"{args[0]}[{_index(node.args[1], name_of)}]"
    if node.target is getattr:
        return f"{args[0]}.{node.args[1]}"
    return f"{_function_name(node.target)}({', '.join([*args, *named])})"


def argument(value: Any, name_of: Callable[[fx.Node], str]) -> str:
    """Returns an argument of a call as Python."""
    if isinstance(value, fx.Node):
        return name_of(value)
    if isinstance(value, list | tuple):
        inner = ", ".join(argument(part, name_of) for part in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' if len(value) == 1 else ''})"
    if isinstance(value, slice):
        return f"slice({', '.join(argument(part, name_of) for part in (value.start, value.stop, value.step))})"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, torch.device):
        return repr(str(value))
    return repr(value)


def identifier(dotted: str) -> str:
    """Returns a readable Python name for a dotted one, such as `block0_1_conv_1x1` for that op in slot 1 of block 0."""
    parts = dotted.split(".")
    named = [part for part in parts if part and not part.isdigit() and part not in CONTAINERS]
    name = re.sub(r"\W", "_", "_".join(named or ["part", *parts[-1:]]))
    name = re.sub(r"^(\d+)_(\d+)_(keeping|reducing|\d+)_", r"block\1_\2_", name)
    return f"op_{name}" if name[:1].isdigit() else name


def _index(value: Any, name_of: Callable[[fx.Node], str]) -> str:
    parts = value if isinstance(value, tuple) else (value,)
    return ", ".join(_slice(part, name_of) if isinstance(part, slice) else argument(part, name_of) for part in parts)


def _slice(value: slice, name_of: Callable[[fx.Node], str]) -> str:
    ends = (value.start, value.stop, *([] if value.step is None else [value.step]))
    return ":".join("" if end is None else argument(end, name_of) for end in ends)


def _function_name(function: Any) -> str:
    name = str(getattr(function, "__name__", function))
    for module, prefix in ((F, "F"), (torch, "torch")):
        if getattr(module, name, None) is function:
            return f"{prefix}.{name}"
    raise ValueError(
        f"the network calls {name}, which is not a function of torch, and cannot be written as source code"
    )


def _by_signature(layer: Any) -> str:
    """Writes what a layer of torch was made with, as its attributes tell, less what is the default."""
    given = []
    for name, parameter in inspect.signature(type(layer)).parameters.items():
        value = getattr(layer, name, parameter.default)  # it does not keep on which device its weights were made
        if isinstance(value, tuple) and len(set(value)) == 1:
            value = value[0]
        if name == "bias":
            value = value is not None or not getattr(layer, "affine", True)
        if parameter.default is parameter.empty:
            given.append(repr(value))
        elif value != parameter.default:
            given.append(f"{name}={value!r}")
    return f"nn.{type(layer).__name__}({', '.join(given)})"


def _dynamic(layer: Any) -> str:
    hidden = getattr(layer, "dynamic", layer).reduce.out_features
    return f"{type(layer).__name__}(groups={layer.groups}, sizes={layer.sizes}, hidden={hidden})"


def _normalize(layer: plain_layers.Normalize) -> str:
    mean, std = ([round(value, 9) for value in values.flatten().tolist()] for values in (layer.mean, layer.std))
    return f"Normalize({mean}, {std}{'' if layer.scale == 1 else f', scale={layer.scale!r}'})"


WRITTEN: dict[type[nn.Module], Callable[[Any], str]] = {
    **dict.fromkeys((nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d), _by_signature),
    plain_layers.DynamicShuffle: _dynamic,
    plain_layers.StaticDynamicShuffle: _dynamic,
    plain_layers.Normalize: _normalize,
}
"""Functions that write the constructor of a layer whose `repr` does not, by its type."""
