"""Measurements behind `results/published/scale.md` that need whole sweeps, and so are no part of `nas bench`."""
