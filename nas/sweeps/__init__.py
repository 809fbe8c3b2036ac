"""Sweeps: the whole pipeline for every combination of settings, and what all of them come to."""
