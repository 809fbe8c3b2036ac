"""The papers' demonstrations of learned permutations, each a function from settings to rows and figures.

Modules:
    bodies: ShuffleNet v1, v2 and ShuffleNASNet with each mixer in the place of their shuffle.
    costs: Costs of every mixer, and of hardened permutations in a whole network at inference.
    permuted_images: Images behind an unknown permutation of their pixels.
    pixel_permutations: Learners that find an unknown permutation of pixels by the total variation of the images alone.
    planted: AutoShuffleNet's two demonstrations: graph matching, and the permutation inside a network of two layers.
    plots: Figures of the demonstrations.
    relaxation: Minimising over doubly stochastic matrices, many problems at once.
    rows: The shape that all demonstrations share.
    settings: Settings of the demonstrations.
    solvers: Other ways to match graphs: the convex relaxation, annealed Sinkhorn matrices, and SciPy's FAQ.
    structured: Kaleidoscope matrices: the transforms they write, and those that descents find.
"""

TASKS = ("graph_matching", "two_layer", "structured", "permuted_images", "mixer_costs", "model_costs", "bodies")
"""The demonstrations that `nas permutations` runs."""
