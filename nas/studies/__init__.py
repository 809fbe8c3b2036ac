"""Experiments about the method: rankings, controllers compared, benchmarks, demonstrations, published tables.

Modules:
    benchmarks/: The speed at which this machine searches and retrains.
    controller_comparison/: Controllers compared in one table, over many seeds, under the same budget.
    demonstrations/: The papers' demonstrations of learned permutations, each a function from settings to figures.
    ranking/: Rankings of architectures by shared weights: the same cells scored with them and trained stand-alone.
    table_i: Table I of the ShuffleNASNet paper (arXiv:1812.02975).
"""
