"""The PNG shows what the SVG says: boxes, colours and edges where they are."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.reporting.cells.drawing import genotype_svg
from nas.reporting.figures.drawing import write_cells_png
from search_spaces.nasbench201 import parse_arch_string
from search_spaces.published import PUBLISHED

SVG = "{http://www.w3.org/2000/svg}"
COLORS = {"separable": (0, 114, 178), "conv": (213, 94, 0), "pool": (0, 158, 115), "mixer": (181, 137, 0)}


def pixels_of(svg: str, path: Path) -> np.ndarray:
    write_cells_png(path, svg)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def figure(tmp_path_factory) -> tuple[str, np.ndarray, object]:
    svg = genotype_svg(PUBLISHED["shufflenasnet_a"].genotype, title="a_cell")
    path = tmp_path_factory.mktemp("picture") / "sub" / "cell.png"
    return svg, pixels_of(svg, path), path


def boxes(svg: str, role: str) -> list[tuple[int, int, int, int]]:
    """Left, top, right and bottom of the boxes of a role, in px of the page."""
    found = []
    for group in ET.fromstring(svg).findall(f"{SVG}g"):
        dx, dy = map(int, re.findall(r"\d+", group.get("transform", "")))
        for rect in group.iter(f"{SVG}rect"):
            if rect.get("class") == role:
                x, y, width, height = (int(rect.get(side, "")) for side in ("x", "y", "width", "height"))
                found.append((x + dx, y + dy, x + dx + width, y + dy + height))
    return found


def test_the_png_is_twice_the_size_of_the_figure(figure):
    svg, pixels, _ = figure
    root = ET.fromstring(svg)
    assert pixels.shape == (2 * int(root.get("height")), 2 * int(root.get("width")), 3)


@pytest.mark.parametrize("role", COLORS)
def test_every_box_has_its_colour_on_all_four_sides(figure, role):
    svg, pixels, _ = figure
    found = boxes(svg, role)
    assert found
    for left, top, right, bottom in found:
        x, y = (left + right) // 2, (top + bottom) // 2
        for px, py in ((x - 20, top), (x - 20, bottom), (left, y), (right, y)):
            near = pixels[2 * py - 2 : 2 * py + 3, 2 * px - 2 : 2 * px + 3].reshape(-1, 3).astype(int)
            assert np.abs(near - COLORS[role]).sum(axis=1).min() < 60, (role, px, py)


def test_edges_run_from_box_to_box(figure):
    svg, pixels, _ = figure
    (_, _, _, merge), (_, mixer, _, _) = boxes(svg, "merge")[0], boxes(svg, "mixer")[0]
    x = sum(boxes(svg, "merge")[0][::2]) // 2
    for y in range(merge + 2, mixer - 2):
        assert pixels[2 * y, 2 * x - 4 : 2 * x + 5].min() < 120, y


def test_the_same_figure_gives_the_same_file(tmp_path, figure):
    svg, _, path = figure
    write_cells_png(tmp_path / "again.png", svg)
    assert (tmp_path / "again.png").read_bytes() == path.read_bytes()


def test_stranger_names_and_an_edge_that_is_none_are_drawn(tmp_path):
    cell = parse_arch_string("|none~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|avg_pool_3x3~1|none~2|")
    pixels = pixels_of(genotype_svg(cell, title="$x_1$ <&>"), tmp_path / "cell.png")
    assert pixels.min() < 60
    assert len(boxes(genotype_svg(cell), "none")) == 3
