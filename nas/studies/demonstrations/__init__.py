"""The papers' demonstrations of learned permutations, each a function from settings to rows and figures.

Modules:
    bodies: ShuffleNet v1, v2 and ShuffleNASNet with each mixer in the place of their shuffle.
    costs: What every mixer costs, and what hardened permutations cost a whole network at inference.
    matching/: Graph matching by learned permutations, beside other solvers (AutoShuffleNet's first demonstration).
    permuted/: Images behind an unknown permutation of their pixels.
    relaxation: Minimising over doubly stochastic matrices, many problems at once.
    rows: The shape that all demonstrations share.
    settings: Settings of the demonstrations.
    structured: What kaleidoscope matrices write, and what of it gradient descent finds.
    structured_plots: Figures of the demonstration: what is written exactly, what is learned.
    two_layer: The permutation inside a network of two layers.
"""

TASKS = ("graph_matching", "two_layer", "structured", "permuted_images", "mixer_costs", "model_costs", "bodies")
"""The demonstrations that `nas permutations` runs."""
