"""Sweeps: the whole pipeline for every combination of settings, and what all of them come to.

Modules:
    members: The members of a sweep: what tells them apart, the folder of each.
    report: Results of a sweep: `sweep.json`, `sweep.csv`, `sweep.svg`, the report, the table and its conclusions.
    summary: Figures of the members of a sweep, and their mean and spread over seeds.
"""
