"""Pictures of a cell.

Modules:
    drawing: Pictures of a genotype: an SVG figure for pages and papers, and plain characters for the terminal.
    layout: The layered layout of a cell's figure: how large its boxes are, and where they and the edges stand.
"""
