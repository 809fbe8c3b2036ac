"""Latency: time a derived model's forward pass over batch sizes on the chosen device."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from nas.checkpoint import load_weights, read_metadata, write_json
from nas.config import build
from nas.console import Column, Table, header, progress, result, shown
from nas.derived import DerivedModel
from nas.hardening import harden_mixers
from nas.inference import for_inference
from nas.jobs.parts import build_data, build_derived, build_runtime, measure_size, read_genotype
from nas.latency import measure_latency
from nas.plots import latency_plot
from nas.runtime import Runtime, environment, seed_everything
from nas.tracking import FilesOnly, Tracker
from search_spaces.auto_shuffle import AutoShuffle
from search_spaces.genotype import Genotype
from search_spaces.kaleidoscope import SwitchShuffle
from search_spaces.mixers import Mixer, Permutation

COLUMNS = (
    Column("batch_size", "batch", "d"),
    Column("median_ms", "median ms", ".3f"),
    Column("p95_ms", "p95 ms", ".3f"),
    Column("images_per_second", "images/s", ".0f"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySettings:
    """What is timed.

    Attributes:
        batch_sizes: Images in a pass, one measurement each.
        warmup: Passes before the first timed one.
        repeats: Passes timed at each batch size.
        image_shape: (C, H, W); null takes the data set's, which must then be there.
        num_classes: Null takes the data set's.
    """

    batch_sizes: Sequence[int] = (1, 32, 128)
    warmup: int = 10
    repeats: int = 100
    image_shape: Sequence[int] | None = None
    num_classes: int | None = None

    def __post_init__(self) -> None:
        if not self.batch_sizes or min(self.batch_sizes) < 1:
            raise ValueError(f"batch_sizes must list sizes of at least 1, got {list(self.batch_sizes)}")
        if self.warmup < 0 or self.repeats < 1:
            raise ValueError(f"needs warmup ≥ 0 and repeats ≥ 1, got {self.warmup} and {self.repeats}")
        if self.image_shape is not None and (len(self.image_shape) != 3 or min(self.image_shape) < 1):
            raise ValueError(f"image_shape must be [channels, height, width], got {list(self.image_shape)}")


def run(cfg: DictConfig, out: Path, *, tracker: Tracker | None = None) -> dict[str, Any]:
    """Measures the model of `cfg.genotype` and writes `latency.json` into the run folder `out`.

    Returns:
        What `latency.json` holds.

    Raises:
        ValueError: If a setting is out of range or the genotype file is not valid.
        FileNotFoundError: If the genotype file, or the data set where it is needed, is not there.
    """
    tracker = tracker or FilesOnly()
    settings = read_settings(cfg)
    genotype = read_genotype(cfg)
    runtime = build_runtime(cfg)
    image_shape, num_classes = _image_facts(settings, cfg, runtime)
    seed_everything(0)
    network = build_derived(cfg, genotype, image_shape=image_shape, num_classes=num_classes)
    weights = give_weights(network, cfg, genotype)
    model = DerivedModel(runtime.place(ready_for_inference(network, genotype, image_shape=image_shape)), genotype)
    header(
        "latency",
        {
            "run folder": shown(out),
            "weights": weights,
            "images": "x".join(map(str, image_shape)),
            "passes": f"{settings.repeats} timed after {settings.warmup} for warming up, one by one",
            "device": f"{runtime.device}, {torch.get_num_threads()} threads",
        },
    )
    table, measured = Table(COLUMNS), []
    with progress("timing", total=len(settings.batch_sizes)) as bar:
        for batch_size in settings.batch_sizes:
            latency = measure_latency(
                model,
                image_shape=image_shape,
                batch_size=batch_size,
                warmup=settings.warmup,
                repeats=settings.repeats,
                runtime=runtime,
            )
            measured.append(latency.to_dict())
            tracker.log(latency.to_dict(), step=batch_size, section="latency")
            table.row(latency.to_dict())
            bar.advance()
    figures = {
        "genotype": None if genotype is None else genotype.to_dict(),
        "weights": weights,
        "network": OmegaConf.to_container(cfg.network),
        "image_shape": list(image_shape),
        **measure_size(cfg, genotype, image_shape=image_shape, num_classes=num_classes),
        "latency": measured,
        "environment": environment(runtime, seed=cfg.seed),
    }
    write_json(out / "latency.json", figures)
    latency_plot({out.name: measured}, out / "latency.svg")
    fastest = measured[0]
    result(f"latency at batch {fastest['batch_size']}: {fastest['median_ms']:.3f} ms (p95 {fastest['p95_ms']:.3f} ms)")
    return figures


@torch.no_grad()
def give_weights(network: nn.Module, cfg: DictConfig, genotype: Genotype | None) -> str:
    """Hardens the network and loads what the run of `cfg.genotype` trained, if it is of this model.

    Otherwise the weights stay random, and permutations that would be learned are drawn at random: as they start they
    would be those that move least.

    Returns:
        Where the weights are from.
    """
    for name in [name for name, mixer in network.named_modules() if isinstance(mixer, Mixer) and mixer.rounds]:
        mixer = network.get_submodule(name)
        if isinstance(mixer, AutoShuffle | SwitchShuffle):
            drawn = Permutation(torch.randperm(mixer.channels))
            network.set_submodule(name, drawn)
    harden_mixers(network)
    path = Path(str(cfg.genotype))
    file = (path if path.is_dir() else path.parent) / "weights.safetensors"
    cell = None if genotype is None else genotype.to_dict()
    model = json.dumps({"genotype": cell, "network": OmegaConf.to_container(cfg.network)})
    if cfg.genotype is None or read_metadata(file).get("model") != model:
        return "random"
    try:
        network.load_state_dict(load_weights(file))
    except RuntimeError:  # of images or classes other than asked for
        return "random"
    return f"trained, {shown(file)}"


@torch.no_grad()
def ready_for_inference(
    network: nn.Module, genotype: Genotype | None, *, image_shape: tuple[int, int, int]
) -> nn.Module:
    """Returns the network as it is timed, learned mixers hardened and permutations folded, and checks what it computes.

    Raises:
        RuntimeError: If its logits are not those of the hardened network.
    """
    ready = for_inference(network, genotype)
    harden_mixers(network.eval(), linear_maps=True)
    images = torch.randn((2, *image_shape))
    expected, got = network(images, genotype), ready(images, genotype)
    if not torch.allclose(got, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())):
        raise RuntimeError(f"the folded network differs by {(got - expected).abs().max():.3g} from the trained one")
    return ready


def read_settings(cfg: DictConfig) -> LatencySettings:
    """Returns the settings under `cfg.latency`; raises ValueError for one out of range."""
    settings: LatencySettings = build(cfg.latency, "latency")
    return settings


def _image_facts(settings: LatencySettings, cfg: DictConfig, runtime: Runtime) -> tuple[tuple[int, int, int], int]:
    """Returns image shape and number of classes, from the settings or else from the data set."""
    if settings.image_shape is not None and settings.num_classes is not None:
        channels, height, width = settings.image_shape
        return (channels, height, width), settings.num_classes
    data = build_data(cfg, runtime)
    return data.image_shape, data.num_classes
