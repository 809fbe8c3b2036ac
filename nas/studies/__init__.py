"""Experiments about the method: rankings, controllers compared, benchmarks, demonstrations, published tables.

Modules:
    benchmarks/: How fast this machine searches and retrains.
    controller_comparison/: Controllers held against each other: in one table, over many seeds, under the same budget.
    demonstrations/: The papers' demonstrations of learned permutations, each a function from settings to figures.
    ranking/: How well shared weights rank architectures: the same cells scored with them and trained stand-alone.
    table_i: Table I of the ShuffleNASNet paper (arXiv:1812.02975).
"""
