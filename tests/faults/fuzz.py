"""Feeds damaged files to every reader of untrusted files: each must read them or refuse them in the documented way.

    python -m tests.faults.fuzz [INPUTS] [SEED]

Prints how many inputs each reader took and refused, and fails at the first other exception, or where one input takes
longer than `SECONDS`.
"""

import gzip
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.data.npz import read_npz, write_npz
from nas.models.genotype_files import load_genotype, load_genotypes, network_group
from nas.models.model_card import record_of_card
from nas.runs.checkpoints import load_checkpoint, load_weights, read_metadata, save_checkpoint, save_weights
from nas.searching.table_files import Table
from search_spaces.genotype import Genotype
from search_spaces.notations import darts_notation, read_notation
from search_spaces.published import PUBLISHED

SECONDS = 5
WORDS = (
    *(b"0", b"-1", b"1e999", b"NaN", b"Infinity", b"9" * 30, b"9" * 5000, b"1_0", b"null", b"true", b'"', b"\\u0000"),
    *(b"[", b"]", b"{", b"}", b"(", b")", b",", b":", b"\n", b"\r", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"'", b"#"),
    *(b"[" * 3000, b'{"a":' * 2000, b"(" * 500, "Ω٣".encode(), b"range(0, 999999999)", b"__import__('os')", b"inputs"),
    *(b"normal", b"blocks", b"ops", b"identity", b"x" * 2000, b"*" * 50, b"&a [*a]", b"!!python/object:os.system ls"),
)
JSON_VALUES: tuple[Any, ...] = (None, True, -1, 0, 10**9, 10**400, 1.5, "", "x" * 70, [], {}, [[]], {"a": 1}, [-1] * 70)
CELL = {"blocks": [{"inputs": [0], "ops": ["identity"]}, {"inputs": [1], "ops": ["conv_1x1"]}], "mixer": "identity"}
NETWORK = {"_target_": "nas.models.shufflenasnet.ShuffleNASNet", "filters": 8}


class HangError(Exception):
    """An input took too long."""


@dataclass(frozen=True)
class Reader:
    """A reader of untrusted bytes.

    Attributes:
        name: Of the reader.
        seeds: Valid inputs, which are damaged.
        read: Reads bytes; files are written into the folder given.
        documented: What it may raise.
    """

    name: str
    seeds: tuple[bytes, ...]
    read: Callable[[bytes, Path], object]
    documented: tuple[type[Exception], ...] = (ValueError,)


def through_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    """Makes a reader of bytes from one of a file of that name."""

    def read_bytes(data: bytes, folder: Path) -> object:
        (folder / name).write_bytes(data)
        return read(folder / name)

    return read_bytes


def read_table(path: Path) -> object:
    return Table.read(path, key="arch", reward="accuracy", cost="ms")


def text_of(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def readers(folder: Path) -> list[Reader]:
    """Returns all readers, with valid inputs."""
    genotype = PUBLISHED["darts_v2"].genotype
    plain = json.dumps({"space": "shufflenas", "normal": CELL, "reduction": CELL}).encode()
    save_weights(folder / "seed.safetensors", {"a": torch.ones(2, 3)}, metadata={"model": plain.decode()})
    save_checkpoint(folder / "seed.pt", {"rows": [{"loss": 0.5}], "network": {"a": torch.ones(3)}})
    write_npz(folder / "seed.npz", images=torch.zeros(2, 3, 3).numpy(), labels=torch.zeros(2).numpy())
    table = b"arch,accuracy,ms,other\n" + b"".join(f"cell{i},0.{i},{i + 1},x\n".encode() for i in range(9))
    card = {"network": NETWORK, "mean": [0.5], "std": [0.2], "class_names": ["a", "b"], "num_classes": 2}
    cards = (json.dumps({**card, "genotype": json.loads(plain), "image_shape": [1, 8, 8], "in_channels": 1}).encode(),)
    nni: dict[str, str | int] = {}
    for cell in ("normal", "reduce"):
        for slot in (0, 1):
            nni |= {f"{cell}/op_2_{slot}": "sep_conv_3x3", f"{cell}/input_2_{slot}": slot}
    notations = (
        darts_notation(genotype).encode(),
        b"0 2 0 0 0 4 0 1 0 4 1 1 1 0 0 1",
        b"(((0, 3), (1, 3), (0, 4), (1, 2)), ((0, 3), (1, 3), (0, 4), (1, 2)))",
        json.dumps(nni).encode(),
    )
    lists = (b"[" + plain + b"," + plain + b"]", b'[{"genotype": ' + plain + b', "reward": 0.5}]')
    config = (b"network: {_target_: nas.models.shufflenasnet.ShuffleNASNet, macro: cifar}\nseed: 0\n",)
    return [
        Reader(
            "genotype JSON", (plain, genotype.to_json().encode()), lambda data, _: Genotype.from_json(text_of(data))
        ),
        Reader("notation", notations, lambda data, _: read_notation(text_of(data))),
        Reader("genotype file", (plain, *notations, *lists), through_file("cell.json", load_genotype)),
        Reader("entry of a list", lists, through_file("list.json", lambda path: load_genotype(f"{path}#1"))),
        Reader("list of genotypes", lists, through_file("many.json", load_genotypes)),
        Reader(
            "genotype argument",
            (b"darts_v2", b"results/runs/four", b"cell.json#3", *notations),
            lambda data, _: load_genotype(text_of(data)),
            (ValueError, FileNotFoundError),
        ),
        Reader("config of a run", config, through_file("config.yaml", lambda path: network_group(str(path.parent)))),
        Reader("table", (table,), through_file("table.csv", read_table)),
        Reader("compressed table", (gzip.compress(table),), through_file("table.csv.gz", read_table)),
        Reader("model card", cards, through_file("model_card.json", lambda path: record_of_card(path.parent))),
        Reader(
            "weights", ((folder / "seed.safetensors").read_bytes(),), through_file("weights.safetensors", load_weights)
        ),
        Reader(
            "metadata of weights",
            ((folder / "seed.safetensors").read_bytes(),),
            through_file("weights.safetensors", read_metadata),
        ),
        Reader("checkpoint", ((folder / "seed.pt").read_bytes(),), through_file("state.pt", load_checkpoint)),
        Reader(
            "arrays",
            ((folder / "seed.npz").read_bytes(),),
            through_file("data.npz", lambda path: read_npz(path, required=("images", "labels"))),
        ),
    ]


def damaged(data: bytes, rng: random.Random, *, others: tuple[bytes, ...]) -> bytes:
    """Returns a valid input with one to four mistakes in it."""
    if rng.random() < 0.3 and (changed := changed_json(data, rng)) is not None:
        data = changed
    for _ in range(rng.randint(0 if rng.random() < 0.02 else 1, 4)):
        at, length = rng.randint(0, len(data)), rng.randint(1, 8)
        match rng.randrange(7):
            case 0:
                data = data[:at] + rng.choice(WORDS) + data[at:]
            case 1:
                data = data[:at] + data[at + length :]
            case 2:
                data = data[:at] + rng.randbytes(length) + data[at + length :]
            case 3:
                data = data[:at] + data[at : at + 40 * length] * 2 + data[at:]
            case 4:
                data = data[:at]
            case 5:
                data = data[:at] + rng.choice(WORDS) + data[at + length :]
            case _:
                other = rng.choice(others)
                data = data[:at] + other[rng.randint(0, len(other)) :]
    return data


def changed_json(data: bytes, rng: random.Random) -> bytes | None:
    """Returns JSON with one value replaced, removed or renamed; None if the input is no JSON."""
    try:
        tree = json.loads(data)
    except ValueError:
        return None
    node = tree
    while isinstance(node, dict | list) and node:
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        child = node[key]
        if not (isinstance(child, dict | list) and child) or rng.random() < 0.25:
            match rng.randrange(3):
                case 0:
                    del node[key]
                case 1 if isinstance(node, dict):
                    node[f"{key}x"] = node.pop(key)
                case _:
                    node[key] = rng.choice(JSON_VALUES)
            break
        node = child
    return json.dumps(tree).encode()


def on_alarm(number: int, frame: object) -> None:
    raise HangError


def fuzz(num_inputs: int, *, seed: int) -> dict[str, Any]:
    """Feeds so many inputs to the readers in turns.

    Raises:
        AssertionError: If a reader raised what it does not document, or took too long; with the input.
    """
    rng, outcomes, slowest = random.Random(seed), Counter[str](), (0.0, "")
    before = signal.signal(signal.SIGALRM, on_alarm)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            all_readers = readers(folder)
            for number in range(num_inputs):
                reader = all_readers[number % len(all_readers)]
                data = damaged(rng.choice(reader.seeds), rng, others=reader.seeds)
                started = time.perf_counter()
                signal.alarm(SECONDS)
                try:
                    reader.read(data, folder)
                    outcomes[f"{reader.name}: read"] += 1
                except reader.documented:
                    outcomes[f"{reader.name}: refused"] += 1
                except BaseException as error:
                    raise AssertionError(f"{reader.name}, input {number} of seed {seed}: {data[:3000]!r}") from error
                finally:
                    signal.alarm(0)
                slowest = max(slowest, (1e3 * (time.perf_counter() - started), reader.name))
    finally:
        signal.signal(signal.SIGALRM, before)
    return {"inputs": num_inputs, "seed": seed, "outcomes": dict(sorted(outcomes.items())), "slowest_ms": slowest}


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    started = time.monotonic()
    report = fuzz(numbers[0] if numbers else 100_000, seed=numbers[1] if len(numbers) > 1 else 0)
    sys.stdout.write(json.dumps({**report, "seconds": round(time.monotonic() - started, 1)}, indent=2) + "\n")
