"""The papers' demonstrations of learned permutations, each a function from settings to figures."""

TASKS = ("graph_matching", "two_layer", "structured", "permuted_images", "mixer_costs", "model_costs", "bodies")
"""The demonstrations that `nas permutations` runs."""
