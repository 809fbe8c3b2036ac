"""Graph matching by learned permutations, beside other solvers (AutoShuffleNet's first demonstration).

Modules:
    graph_matching: Graph matching, AutoShuffleNet's first demonstration of its penalty.
    plots: Figures of the two demonstrations of the penalty.
    solvers: The convex relaxation to the last digit, annealed Sinkhorn matrices, and SciPy's FAQ.
"""
