"""The pure data of a search: decisions (what is asked) and genotypes (what was answered).

A genotype says which ops a cell is made of and how they are wired; it knows nothing of weights, channels or
devices. Everything here is frozen and hashable, checks itself on construction, and turns into JSON and back.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import ConfigDict, StrictInt, StrictStr, TypeAdapter, ValidationError

MAX_BLOCKS = 64
MAX_NAME_LENGTH = 64
MAX_JSON_BYTES = 1_000_000
NONE = "none"
"""The op of an edge that is not there."""
IDENTITIES = ("identity", "skip_connect")
"""Ops that return their input, except for a cell input that a strided cell reads."""


Edge = tuple[int, int, int, str]
"""(block, slot, input node, op)."""
Name = Annotated[StrictStr, Len(1, MAX_NAME_LENGTH)]
Nodes = Annotated[tuple[StrictInt, ...], Len(0, MAX_BLOCKS)]
NO_MORE = ConfigDict(extra="forbid")  # fields of data that is read, which these annotations say the rules of


@dataclass(frozen=True, slots=True)
class Decision:
    """One question a controller answers, by the index of a choice.

    Decisions of one `group` (a cell) are asked step by step (block by block). A decision of kind `"input"` points
    at an earlier node of its group: first the group's inputs, then its earlier steps; every other kind picks a word
    out of `choices`, and decisions of the same kind share that vocabulary.

    Attributes:
        group: The cell that is being decided, `"normal"` for instance.
        step: Number of the block within the group, from 0.
        kind: `"input"` for a pointer to an earlier node, else the name of the vocabulary.
        choices: What can be chosen, as text.
        slot: Number of the edge within the block, from 0.
    """

    group: str
    step: int
    kind: Literal["input", "op", "mixer"]
    choices: tuple[str, ...]
    slot: int = 0

    def __post_init__(self) -> None:
        if not self.choices:
            raise ValueError(f"decision {self.name} has no choices")
        if len(set(self.choices)) != len(self.choices):
            raise ValueError(f"decision {self.name} lists a choice twice: {', '.join(self.choices)}")

    @property
    def name(self) -> str:
        """A readable name such as `normal.2.op`, or `normal.2.op.1` for a block's second edge."""
        return f"{self.group}.{self.step}.{self.kind}" + (f".{self.slot}" if self.slot else "")


@dataclass(frozen=True, slots=True)
class Block:
    """One node of a cell: the sum of `ops[i]` applied to node `inputs[i]`.

    Attributes:
        inputs: Numbers of the nodes read, one an op. The cell's inputs come first, then its blocks in order.
        ops: Names in the op table, as many as inputs.
    """

    __pydantic_config__ = NO_MORE

    inputs: Nodes
    ops: Annotated[tuple[Name, ...], Len(0, MAX_BLOCKS)]

    def __post_init__(self) -> None:
        if not self.ops or len(self.inputs) != len(self.ops):
            raise ValueError(
                f"a block needs as many inputs as ops, at least one, got {len(self.inputs)} inputs, {len(self.ops)} ops"
            )


@dataclass(frozen=True, slots=True)
class CellGenotype:
    """The wiring of one cell type.

    Nodes are numbered: first the cell's inputs, `0 … num_inputs - 1`, then its blocks.

    Attributes:
        blocks: At least one, each reading only earlier nodes.
        mixer: Name of the module that mixes the channels after the layer.
        num_inputs: How many earlier layers the cell reads.
        outputs: Nodes merged into the cell's output; None means the loose ends, the blocks no other block reads.
    """

    __pydantic_config__ = NO_MORE

    blocks: Annotated[tuple[Block, ...], Len(0, MAX_BLOCKS)]
    mixer: Name = "channel_shuffle"
    num_inputs: StrictInt = 1
    outputs: Nodes | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.blocks) <= MAX_BLOCKS:
            raise ValueError(f"a cell needs 1 to {MAX_BLOCKS} blocks, got {len(self.blocks)}")
        if not 1 <= self.num_inputs <= MAX_BLOCKS:
            raise ValueError(f"num_inputs must lie in 1 … {MAX_BLOCKS}, got {self.num_inputs}")
        for node, block in enumerate(self.blocks, start=self.num_inputs):
            for source in block.inputs:
                if not 0 <= source < node:
                    raise ValueError(f"block {node - self.num_inputs} reads node {source}, not one of 0 … {node - 1}")
        if self.outputs is not None:
            last = self.num_inputs + len(self.blocks) - 1
            if not self.outputs or len(set(self.outputs)) != len(self.outputs):
                raise ValueError(f"outputs must name at least one node, each once, got {self.outputs}")
            if min(self.outputs) < 0 or max(self.outputs) > last:
                raise ValueError(f"outputs must lie in 0 … {last}, got {self.outputs}")

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Every edge, block by block."""
        return tuple(
            (number, slot, source, op)
            for number, block in enumerate(self.blocks)
            for slot, (source, op) in enumerate(zip(block.inputs, block.ops, strict=True))
        )

    @property
    def live_edges(self) -> list[Edge]:
        """The edges on a path from an input to an output, in the order of `edges`; the op `none` makes no path."""
        reached = set(range(self.num_inputs))
        leading: list[Edge] = []
        for edge in self.edges:
            if edge[3] != NONE and edge[2] in reached:
                reached.add(self.num_inputs + edge[0])
                leading.append(edge)
        needed, live = set(self.output_nodes), []
        for edge in reversed(leading):
            if self.num_inputs + edge[0] in needed:
                needed.add(edge[2])
                live.append(edge)
        return live[::-1]

    @property
    def loose_ends(self) -> tuple[int, ...]:
        """Numbers of the blocks' nodes that no other block reads, in order."""
        return unread_nodes(self.blocks, range(self.num_inputs, self.num_inputs + len(self.blocks)))

    @property
    def output_nodes(self) -> tuple[int, ...]:
        """Numbers of the nodes merged into the output."""
        return self.loose_ends if self.outputs is None else self.outputs


@dataclass(frozen=True, slots=True)
class Genotype:
    """An architecture: what a search finds and every later step takes.

    Attributes:
        space: Name of the search space it belongs to.
        normal: The cell of the layers that keep the resolution.
        reduction: The cell of the layers that halve it; None in spaces with one cell type.
    """

    __pydantic_config__ = NO_MORE

    space: Name
    normal: CellGenotype
    reduction: CellGenotype | None = None

    @property
    def cells(self) -> dict[str, CellGenotype]:
        """The cells by name, in the order in which they are decided."""
        cells = {"normal": self.normal, "reduction": self.reduction}
        return {name: cell for name, cell in cells.items() if cell is not None}

    def to_dict(self) -> dict[str, Any]:
        """Returns the genotype as JSON-ready data; `from_dict` is the inverse."""
        data: dict[str, Any] = _GENOTYPES.dump_python(self, mode="json", exclude_none=True)
        for name, cell in self.cells.items():
            if cell.num_inputs == 1:
                del data[name]["num_inputs"]
        return data

    def to_json(self) -> str:
        """Returns the genotype as JSON, one block a line."""
        data = self.to_dict()
        space = json.dumps(data.pop("space"))
        cells = [
            f'  "{name}": {{\n    "blocks": [\n'
            + ",\n".join(f"      {json.dumps(block)}" for block in cell.pop("blocks"))
            + "\n    ]"
            + "".join(f',\n    "{key}": {json.dumps(value)}' for key, value in cell.items())
            + "\n  }"
            for name, cell in data.items()
        ]
        return "{\n" + ",\n".join([f'  "space": {space}', *cells]) + "\n}\n"

    @classmethod
    def from_dict(cls, data: object) -> "Genotype":
        """Builds a genotype from what `json.loads` returned.

        Raises:
            ValueError: If `data` is not of the form that `to_dict` writes; the message names the field and the rule.
        """
        try:
            return _GENOTYPES.validate_python(data)
        except ValidationError as error:
            wrong = error.errors(include_url=False)[0]
            place = "".join(f"[{at}]" if isinstance(at, int) else f".{at[:MAX_NAME_LENGTH]}" for at in wrong["loc"])
            plain = re.sub("(?i)tuple", "list", wrong["msg"]).replace("keyword argument", "field")  # as JSON has them
            said = wrong.get("ctx", {}).get("error", plain)  # the first: our own sentence
            raise ValueError(f"{ascii(place)[1:-1].lstrip('.') or 'genotype'}: {said}") from None

    @classmethod
    def from_json(cls, text: str) -> "Genotype":
        """Reads what `to_json` wrote.

        Raises:
            ValueError: If `text` is not JSON, is over 1 MB, or breaks a rule of `from_dict`.
        """
        return cls.from_dict(parse_json(text))


def unread_nodes(blocks: Iterable[Block], nodes: Iterable[int]) -> tuple[int, ...]:
    """Returns those of some nodes that none of the blocks reads."""
    read = {source for block in blocks for source in block.inputs}
    return tuple(node for node in nodes if node not in read)


def json_line(genotype: Genotype) -> str:
    """Returns a genotype as JSON in one line, the key of its row in a table."""
    return json.dumps(genotype.to_dict())


def parse_json(text: str) -> object:
    """Parses untrusted JSON.

    Raises:
        ValueError: If `text` is over 1 MB, nested too deeply, or not JSON.
    """
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"the JSON text is {len(text)} characters long, more than {MAX_JSON_BYTES}")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("the JSON text is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not valid JSON: {error}") from None


_GENOTYPES = TypeAdapter(Genotype)
