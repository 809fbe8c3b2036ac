"""A trained network as one readable Python file that needs torch alone.

Every layer becomes a class, equal layers the same one; what torch lacks is copied from
`nas.models.exporting.plain_layers`. A variable that was read for the last time gives its name to the next, so that
tensors are let go of as early as in the network.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, fx, nn

from nas.models.exporting.layer_trace import PLAIN_CLASSES, Section, sections, trace
from nas.models.exporting.plain_layers import DynamicShuffle, ImageCheck, StaticDynamicShuffle
from nas.models.exporting.source_text import constructor, expression, identifier

WEIGHTS_NAME = "model_weights.pt"

HEADER = '''"""{title}

Written by shufflenas {version}; it needs torch and the file {weights_name} beside it.

    from model import load

    model = load()
    logits = model(images)  # {images}
"""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

'''

FOOTER = '''
def load(weights: str | Path | None = None) -> Model:
    """Returns the trained model, ready to classify; its weights are those next to this file unless others are named."""
    path = Path(__file__).with_name("{weights_name}") if weights is None else Path(weights)
    model = Model()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    model.register_forward_pre_hook({check}, with_kwargs=True)
    return model.eval()


if __name__ == "__main__":
    with torch.no_grad():
        logits = load()({example})
    print("logits of shape", tuple(logits.shape))
'''


@dataclass(frozen=True, slots=True)
class _Step:
    """A line: what it reads and writes, and its right-hand side, given the variables' names."""

    reads: Sequence[fx.Node]
    writes: Sequence[fx.Node]
    text: Callable[[Callable[[fx.Node], str]], str]


def write_source(
    model: nn.Module, example: Tensor, *, title: str, version: str, images: str, takes: str, make_images: str
) -> tuple[str, dict[str, Tensor]]:
    """Writes a model as a Python file.

    Args:
        model: Model of plain layers, see `nas.models.exporting.plain_network`; in evaluation mode.
        example: Images (N, C, H, W), with which the steps are noted.
        title: The first line of the file's docstring.
        version: Version of this package.
        images: What the model takes, in words.
        takes: The same as a word for `nas.models.exporting.plain_layers.ImageCheck`.
        make_images: An expression that makes images to try the model with.

    Returns:
        The text of the file, and the weights by the names that its class gives them.

    Raises:
        ValueError: If the model does what cannot be written down.
    """
    graph = trace(model, example)
    _skip_identities(model, graph)
    classes, weights = _classes(model, graph)
    copied = {type(layer) for layer in model.modules() if type(layer) in PLAIN_CLASSES}
    if StaticDynamicShuffle in copied:
        copied.add(DynamicShuffle)
    parts = [inspect.getsource(ImageCheck)]
    parts += [inspect.getsource(layer) for layer in PLAIN_CLASSES if layer in copied]
    parts += classes
    plain = "".join(sign if sign.isprintable() and sign not in '"\\' else " " for sign in title)  # no way out of a text
    header = HEADER.format(title=plain, version=version, weights_name=WEIGHTS_NAME, images=images)
    check = f"ImageCheck({example.shape[1]}, {tuple(example.shape[2:])}, takes={takes!r})".replace("'", '"')
    footer = FOOTER.format(weights_name=WEIGHTS_NAME, example=make_images, check=check)
    text = "\n\n\n".join([header.rstrip("\n"), *(part.strip("\n") for part in parts), footer.strip("\n")]) + "\n"
    if " F." not in text and "(F." not in text:
        text = text.replace("from torch.nn import functional as F\n", "", 1)
    return text, weights


def _classes(model: nn.Module, graph: fx.Graph) -> tuple[list[str], dict[str, Tensor]]:
    """Writes a class for each layer that differs from those before, and one for the model; returns its weights too."""
    images, *_, output = graph.nodes
    names, attributes, weights = dict[str, str](), dict[str, str](), dict[str, Tensor]()
    steps: list[_Step] = []
    for section in sections(model, graph):
        if not section.root:
            steps += _single_steps(model, section, attributes, weights)
            continue
        own_attributes, own_weights = dict[str, str](), dict[str, Tensor]()
        own_steps = _single_steps(model, section, own_attributes, own_weights)
        inner = set(section.nodes)
        read = [used for node in section.nodes for used in node.all_input_nodes if used not in inner]
        reads = list(dict.fromkeys(read))  # results of earlier sections, in the order in which they are read
        writes = [node for node in section.nodes if any(user not in inner for user in node.users)]
        body = _class_text(own_attributes, own_steps, inputs=reads, outputs=writes)
        name = names.setdefault(body, f"Layer{len(names) + 1}")
        attribute = f"layer{sum(key.startswith('layer') for key in attributes) + 1}"
        attributes[attribute] = f"self.{attribute} = {name}()"
        weights |= {f"{attribute}.{key}": value for key, value in own_weights.items()}
        steps.append(_Step(reads, writes, _call(attribute, reads)))
    body = _class_text(attributes, steps, inputs=[images], outputs=[output.args[0]], input_names=["images"])
    doc = '    """Maps images (N, C, H, W) to logits (N, classes)."""\n\n'
    layers = [f"class {name}(nn.Module):\n{text}" for text, name in names.items()]
    return [*layers, f"class Model(nn.Module):\n{doc}{body}"], weights


def _call(attribute: str, reads: Sequence[fx.Node]) -> Callable[[Callable[[fx.Node], str]], str]:
    return lambda name_of: f"self.{attribute}({', '.join(map(name_of, reads))})"


def _single_steps(
    model: nn.Module, section: Section, attributes: dict[str, str], weights: dict[str, Tensor]
) -> list[_Step]:
    """Returns a section's steps; notes the attributes that they need, as lines of a constructor, and the weights."""
    held: dict[str, str] = {}  # attribute by the dotted name of a layer or weight
    for node in section.nodes:
        target = str(node.target)
        if node.op not in ("call_module", "get_attr") or target in held:
            continue
        name = identifier(target.removeprefix(section.root))
        while name in attributes:
            name += "_"
        held[target] = name
        if node.op == "call_module":
            layer = model.get_submodule(target)
            attributes[name] = f"self.{name} = {constructor(layer, indent=8)}"
            weights |= {f"{name}.{key}": value for key, value in layer.state_dict().items()}
        else:
            value: Tensor = node.meta["value"]
            shape = ", ".join(map(str, value.shape))
            attributes[name] = f'self.register_buffer("{name}", torch.zeros({shape}, dtype={value.dtype}))'
            if isinstance(value, nn.Parameter):
                attributes[name] = f"self.{name} = nn.Parameter(torch.zeros({shape}))"
            weights[name] = value.detach()

    def step(node: fx.Node) -> _Step:
        attribute = held.get(str(node.target), "")
        return _Step(node.all_input_nodes, [node], lambda name_of: expression(node, name_of, attribute))

    return [step(node) for node in section.nodes]


def _class_text(
    attributes: dict[str, str],
    steps: Sequence[_Step],
    *,
    inputs: Sequence[fx.Node],
    outputs: Sequence[fx.Node],
    input_names: Sequence[str] = (),
) -> str:
    """Returns a class without its first line."""
    made = "".join(f"        {line}\n" for line in attributes.values())
    names: dict[fx.Node, str] = dict(zip(inputs, input_names, strict=False))
    last = {node: number for number, step in enumerate(steps) for node in step.reads}
    last |= dict.fromkeys(outputs, len(steps))
    free: list[int] = []
    numbers: dict[fx.Node, int] = {}

    def give(node: fx.Node) -> str:
        if node not in names:
            numbers[node] = free.pop(0) if free else max(numbers.values(), default=0) + 1
            names[node] = f"x{numbers[node]}"
        return names[node]

    arguments = ", ".join(f"{give(node)}: Tensor" for node in inputs)
    lines = []
    for number, step in enumerate(steps):
        value = step.text(names.__getitem__)
        free += [numbers[node] for node in dict.fromkeys(step.reads) if last[node] == number and node in numbers]
        free.sort()
        lines.append(f"        {', '.join(map(give, step.writes))} = {value}\n")
    returned = "Tensor" if len(outputs) == 1 else f"tuple[{', '.join(['Tensor'] * len(outputs))}]"
    init = f"    def __init__(self) -> None:\n        super().__init__()\n{made}\n" if made else ""
    forward = f"    def forward(self, {arguments}) -> {returned}:\n{''.join(lines)}"
    return f"{init}{forward}        return {', '.join(names[node] for node in outputs)}\n"


def _skip_identities(model: nn.Module, graph: fx.Graph) -> None:
    """Takes steps out of the graph that hand on what they get."""
    for node in list(graph.nodes):
        if node.op == "call_module" and isinstance(model.get_submodule(str(node.target)), nn.Identity):
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.erase_node(node)
