"""The papers' demonstrations of learned permutations, each a function from settings to figures.

Modules:
    bodies: ShuffleNet v1, v2 and ShuffleNASNet with each mixer in the place of their shuffle.
    matching/: Graph matching by learned permutations, beside other solvers (AutoShuffleNet's first demonstration).
    mixer_costs: What every mixer costs: weights, arithmetic, and measured time.
    model_costs: What hardened permutations cost a whole network at inference, beside the fixed channel shuffle.
    permuted/: Images behind an unknown permutation of their pixels.
    relaxation: Minimising over doubly stochastic matrices, many problems at once.
    settings: Settings of the demonstrations.
    structured: What kaleidoscope matrices write, and what of it gradient descent finds.
    structured_plots: Figures of the demonstration: what is written exactly, what is learned.
    transforms: The transforms that kaleidoscope matrices write exactly.
    two_layer: The permutation inside a network of two layers.
"""

TASKS = ("graph_matching", "two_layer", "structured", "permuted_images", "mixer_costs", "model_costs", "bodies")
"""The demonstrations that `nas permutations` runs."""
