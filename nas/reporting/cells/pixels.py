"""Pixels of a cell's figure: draws the SVG of `nas.reporting.cells.drawing` as a PNG, for viewers that take no SVG.

What is to be drawn is said once, in the SVG. Of that language this reads what `nas.reporting.cells.drawing` writes and
nothing else: boxes, texts and paths in groups that are moved, styled by class.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMESPACE = "{http://www.w3.org/2000/svg}"
POINTS = 72  # an inch, so that a px of the figure is a point of matplotlib's
FONT = "DejaVu Sans"  # comes with matplotlib, so that every machine draws the same
FONT_SCALE = 0.92  # it runs wider than the figure's Helvetica

Style = Mapping[str, str]


def write_png(svg: str, path: str | Path, *, scale: float = 2.0) -> npt.NDArray[np.uint8]:
    """Draws a figure of `nas.reporting.cells.drawing.genotype_svg` as it looks on a light page.

    Args:
        svg: Text of the figure.
        path: Where the PNG goes.
        scale: Pixels of the PNG a px of the figure, above 0.

    Returns:
        The pixels, (H, W, 3).
    """
    import matplotlib
    from matplotlib.figure import Figure
    from PIL import Image

    root = ET.fromstring(svg)
    width, height = int(root.attrib["width"]), int(root.attrib["height"])
    styles = _styles(root.findtext(f"{NAMESPACE}style", ""))
    with matplotlib.rc_context({"text.parse_math": False, "font.family": FONT}):
        figure = Figure(figsize=(width / POINTS, height / POINTS), dpi=POINTS * scale)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        for order, (element, x, y) in enumerate(_elements(root, 0, 0)):
            _draw(axes, element, x, y, styles, order)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png", metadata={"Software": None})
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _styles(sheet: str) -> dict[str, dict[str, str]]:
    """Returns the properties of every tag and class, those of dark pages left out."""
    styles: dict[str, dict[str, str]] = {}
    for names, body in re.findall(r"([^{}]+)\{([^{}]*)\}", sheet.partition("@media")[0]):
        properties = dict(entry.split(":", 1) for entry in body.split(";"))
        if "font" in properties:
            properties["font-size"] = properties["font"].split()[0]
        for name in names.split(","):
            styles.setdefault(name.lstrip("."), {}).update(properties)
    return styles


def _elements(parent: ET.Element, x: float, y: float) -> Iterator[tuple[ET.Element, float, float]]:
    """Yields what there is to draw, in order, and how far it is moved."""
    for element in parent:
        tag = element.tag.removeprefix(NAMESPACE)
        if tag == "g":
            moved = re.fullmatch(r"translate\((-?\d+),(-?\d+)\)", element.get("transform", "translate(0,0)"))
            assert moved is not None
            yield from _elements(element, x + int(moved[1]), y + int(moved[2]))
        elif tag in ("rect", "text", "path"):
            yield element, x, y


def _draw(axes: "Axes", element: ET.Element, x: float, y: float, styles: Mapping[str, Style], order: int) -> None:
    tag = element.tag.removeprefix(NAMESPACE)
    style = {**styles.get(tag, {}), **styles.get(element.get("class", ""), {})}
    if tag == "text":
        size = float(style["font-size"].removesuffix("px")) * FONT_SCALE
        place = x + float(element.attrib["x"]), y + float(element.attrib["y"])
        weight: Any = style.get("font-weight", "normal")
        axes.text(*place, element.text or "", color=style["fill"], size=size, weight=weight, ha="center", zorder=order)
        return
    from matplotlib.colors import to_rgba
    from matplotlib.patches import FancyBboxPatch, Patch, PathPatch

    fill, stroke = style.get("fill", "none"), style.get("stroke", "none")
    looks: dict[str, Any] = {
        "facecolor": "none" if fill == "none" else to_rgba(fill, float(style.get("fill-opacity", 1))),
        "edgecolor": stroke,
        "linewidth": float(style.get("stroke-width", 1)),
        "linestyle": "dashed" if "stroke-dasharray" in style else "solid",
        "zorder": order,
    }
    patch: Patch
    if tag == "rect":
        left, top, width, height = (float(element.get(side, 0)) for side in ("x", "y", "width", "height"))
        corner = f"round,pad=0,rounding_size={element.get('rx', 0)}"
        patch = FancyBboxPatch((x + left, y + top), width, height, boxstyle=corner, **looks)
    else:
        patch = PathPatch(_path(element.attrib["d"], x, y), **looks)
    axes.add_patch(patch)


def _path(text: str, x: float, y: float) -> Any:
    """Reads a path of the commands M, V, C (absolute), h, l (relative) and z, moved by (x, y)."""
    from matplotlib.path import Path as Outline

    points: list[tuple[float, float]] = []
    codes: list[Any] = []
    for command, rest in re.findall(r"([MVChlz])([^MVChlz]*)", text):
        numbers = [float(number) for number in rest.split()]
        at = points[-1] if points else (x, y)
        if command == "M":
            points.append((x + numbers[0], y + numbers[1]))
        elif command == "V":
            points.append((at[0], y + numbers[0]))
        elif command == "h":
            points.append((at[0] + numbers[0], at[1]))
        elif command == "l":
            points.append((at[0] + numbers[0], at[1] + numbers[1]))
        elif command == "C":
            points += [(x + numbers[i], y + numbers[i + 1]) for i in (0, 2, 4)]
        else:
            points.append(at)  # of a closing command matplotlib wants a point and does not look at it
        drawn = {"M": Outline.MOVETO, "C": Outline.CURVE4, "z": Outline.CLOSEPOLY}.get(command, Outline.LINETO)
        codes += [drawn] * (3 if command == "C" else 1)
    return Outline(points, codes)
