"""The figures of a benchmark as tables, and the line that sums up each part."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nas.runs.console import Column, Table, note
from nas.studies.benchmarks.communication.modelled import VOLUMES
from nas.studies.benchmarks.throughput import EAGER

MEGABYTE = 1e-6
MEMORY_KEYS = {
    "parameter_bytes": "weights",
    "buffer_bytes": "buffers",
    "optimizer_bytes": "optimizer",
    "step_bytes": "peak of a step beside these",
}


def print_part(part: str, figures: Mapping[str, Any]) -> list[str]:
    """Prints the table of a part; returns its results, a line each."""
    return PRINTERS[part](figures)


def _print(titled: str, columns: Iterable[Column], rows: Iterable[Mapping[str, object]]) -> None:
    note("")
    table = Table([Column("name", f"{titled:>32}", ""), *columns])
    for row in rows:
        table.row(row)


def _throughput(figures: Mapping[str, Any]) -> list[str]:
    columns = [
        Column("ms", "ms", ".2f"),
        Column("min_ms", "least", ".2f"),
        Column("max_ms", "greatest", ".2f"),
        Column("images_per_second", "images/s", ".0f"),
        Column("setup_ms", "set-up ms", ".1f"),
    ]
    _print("throughput", columns, _named(figures))
    return [
        f"{name}: {figures[name]['images_per_second']:,.0f} images/s ({figures[name]['ms']:.2f} ms)" for name in figures
    ]


def _eager(figures: Mapping[str, Any]) -> list[str]:
    _throughput({name: figures[name] for name in EAGER.values()})
    return [
        f"{name}: {ratio['median']:.2f} times as fast as the eager loop (median; least of a cell {ratio['worst']:.2f})"
        for name, ratio in figures["speedup"].items()
    ]


def _controller(figures: Mapping[str, Any]) -> list[str]:
    pieces = {name: value for name, value in figures.items() if isinstance(value, Mapping)}
    columns = [Column("batch_ms", "batch ms", ".3f"), Column("ms", "ms each", ".4f")]
    _print(f"controller, {figures['samples']} architectures", columns, _named(pieces))
    sampled = pieces["sample"]["ms"] + pieces["decode"]["ms"]
    return [f"controller: {sampled:.3f} ms to sample an architecture, {pieces['update']['ms']:.3f} ms to learn from it"]


def _shares(figures: Mapping[str, Any]) -> list[str]:
    for kind, epoch in figures.items():
        rows = [
            {"name": name, "seconds": seconds, "share": epoch["share"][name]}
            for name, seconds in epoch["seconds"].items()
        ]
        columns = [Column("seconds", "seconds", ".4f"), Column("share", "share %", ".3f", 100)]
        _print(f"epoch of {epoch['steps']} steps, {kind}", columns, rows)
    return [
        f"shared-weight and reward passes: {100 * epoch['passes']:.2f} % of an epoch of {epoch['steps']} steps ({kind})"
        for kind, epoch in figures.items()
    ]


def _ratio(figures: Mapping[str, Any]) -> list[str]:
    rows = [
        {
            "name": f"cell {number}",
            "supernet": cell["supernet"]["median_ms"],
            "plain": cell["plain"]["median_ms"],
            "ratio": cell["ratio"],
        }
        for number, cell in enumerate(figures["cells"])
    ]
    columns = [Column("supernet", "supernet ms", ".2f"), Column("plain", "plain ms", ".2f")]
    _print("supernet's path / plain network", [*columns, Column("ratio", "ratio", ".3f")], rows)
    return [
        f"a supernet step costs {figures['median_ratio']:.3f} times the plain network's "
        f"(median of {len(figures['cells'])} cells, worst {figures['worst_ratio']:.3f})"
    ]


def _memory(figures: Mapping[str, Any]) -> list[str]:
    rows = [
        {"name": label, **{network: figures[network][key] for network in ("supernet", "derived")}}
        for key, label in MEMORY_KEYS.items()
    ]
    columns = [Column(network, f"{network} MB", ".2f", MEGABYTE) for network in ("supernet", "derived")]
    _print("memory", columns, rows)
    note(f"peak: {figures['how']}")
    supernet = figures["supernet"]
    return [
        f"memory: supernet of {supernet['parameters']:,} parameters, {MEGABYTE * supernet['parameter_bytes']:.1f} MB, "
        f"optimizer {MEGABYTE * supernet['optimizer_bytes']:.1f} MB, "
        f"a step at most {MEGABYTE * supernet['step_bytes']:.0f} MB more"
    ]


def _scaling(figures: Mapping[str, Any]) -> list[str]:
    columns = [
        Column("ms", "ms", ".2f"),
        Column("ratio", "ratio", ".3f"),
        Column("parameters", "parameters", ",d"),
        Column("weight_bytes", "MB", ".2f", MEGABYTE),
    ]
    rows = [{"name": f"{axis} {row['value']}", **row} for axis, values in figures.items() for row in values]
    _print("cost of a search step", columns, rows)
    fewest, *_, most = figures["num_ops"]
    return [
        f"{most['value']} candidate ops instead of {fewest['value']}: {most['ratio']:.3f} times the time of a step, "
        f"{most['weight_bytes'] / fewest['weight_bytes']:.1f} times the weights"
    ]


def _roofline(figures: Mapping[str, Any]) -> list[str]:
    columns = [
        Column("flops", "GFLOP", ".2f", 1e-9),
        Column("bytes", "MB", ".1f", MEGABYTE),
        Column("floor_ms", "floor ms", ".2f"),
        Column("measured_ms", "ms", ".2f"),
        Column("gap", "gap", ".2f"),
    ]
    _print("a step at the device's ceilings", columns, [{"name": "search step", **figures}])
    return [
        f"floor of a search step: {figures['floor_ms']:.2f} ms, measured {figures['gap']:.2f} times that "
        f"({figures['flops_per_second'] / 1e9:,.0f} GFLOP/s, {figures['bytes_per_second'] / 1e9:,.1f} GB/s)"
    ]


def _communication(figures: Mapping[str, Any]) -> list[str]:
    measured = figures["measured"]
    columns = [
        Column("volume", "gradients", ""),
        Column("bytes", "MB", ".3f", MEGABYTE),
        Column("ranks", "ranks", "d"),
        Column("ms", "ms", ".3f"),
        Column("step_ms", "5 % of ms", ".1f"),
    ]
    _print("link, modelled", columns, [{"name": row["link"], **row} for row in figures["modelled"]])
    return [
        f"{VOLUMES[name]}: {MEGABYTE * row['bytes']:.2f} MB of gradients a step, {row['ms']:.2f} ms among "
        f"{measured['ranks']} processes here ({measured['backend']}; the model foretold {row['foretold_ms']:.2f} ms)"
        for name, row in figures["foretold"].items()
    ]


def _switches(figures: Mapping[str, Any]) -> list[str]:
    columns = [Column("ms", "ms", ".2f"), Column("ratio", "ratio", ".3f")]
    for kind, variants in figures.items():
        _print(kind, columns, _named(variants))
    return [
        f"{kind} {name}: {row['ratio']:.2f} times the time"
        for kind, variants in figures.items()
        for name, row in list(variants.items())[1:]
    ]


def _targets(figures: Mapping[str, Any]) -> list[str]:
    rows = [
        {"name": f"{job}: {name}", "minutes": minutes}
        for job, figure in figures.items()
        for name, minutes in figure["pieces"].items()
    ]
    _print("minutes, extrapolated", [Column("minutes", "minutes", ".2f")], rows)
    search, retrain = figures["search"], figures["retrain"]
    return [
        f"a search of {search['epochs']} epochs would take {search['minutes']:,.1f} minutes here",
        f"{retrain['epochs']} epochs of the model of {retrain['parameters']:,} parameters would take "
        f"{retrain['minutes']:,.1f} minutes here",
    ]


def _loader(figures: Mapping[str, Any]) -> list[str]:
    timed = {name: row for name, row in figures.items() if isinstance(row, Mapping)}
    rows = [
        {"name": f"{loader}, {workers}", **row[loader]}
        for workers, row in timed.items()
        for loader in ("ours", "torchvision")
    ]
    columns = [
        Column("ms", "ms", ".0f"),
        Column("min_ms", "least", ".0f"),
        Column("max_ms", "greatest", ".0f"),
        Column("images_per_second", "images/s", ".0f"),
    ]
    _print(f"a pass of {figures['pictures']} pictures", columns, rows)
    return [
        f"loader, {workers}: {row['ours']['images_per_second']:.0f} images/s, "
        f"{row['speedup']:.2f} times as fast as torchvision's"
        for workers, row in timed.items()
    ]


def _named(figures: Mapping[str, Any]) -> list[dict[str, object]]:
    return [{"name": name, **row} for name, row in figures.items()]


PRINTERS: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "throughput": _throughput,
    "eager": _eager,
    "controller": _controller,
    "shares": _shares,
    "ratio": _ratio,
    "memory": _memory,
    "scaling": _scaling,
    "roofline": _roofline,
    "communication": _communication,
    "switches": _switches,
    "targets": _targets,
    "loader": _loader,
}
