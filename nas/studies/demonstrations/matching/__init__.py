"""Graph matching by learned permutations, beside other solvers (AutoShuffleNet's first demonstration).

Modules:
    baselines: Other ways to match graphs, for comparison: annealed Sinkhorn matrices and SciPy's FAQ.
    convex: The convex relaxation of graph matching, solved to the last digit.
    graph_matching: Graph matching, AutoShuffleNet's first demonstration of its penalty.
    plots: Figures of the two demonstrations of the penalty.
    problems: Random instances of graph matching with a planted permutation, and the objective on them.
"""
