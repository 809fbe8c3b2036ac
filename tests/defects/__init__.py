"""Planted defects: does the test suite notice when core code is wrong? See `plant.py`."""
