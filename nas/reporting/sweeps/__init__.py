"""Sweeps: the whole pipeline for every combination of settings, and what all of them come to.

Modules:
    members: The members of a sweep: what tells them apart, the folder of each.
    plots: The picture of a sweep: accuracy, size, latency and search cost against what was swept.
    report: What a sweep comes to: `sweep.json`, `sweep.csv`, `sweep.svg`, the report, the table, and what it shows.
    summary: What the members of a sweep come to: the figures of each, and their mean and spread over seeds.
"""
