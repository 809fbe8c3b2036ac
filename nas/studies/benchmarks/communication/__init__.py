"""What data-parallel ranks send: measured here, modelled over other links.

Modules:
    all_reduce: How long ranks take to add up a buffer.
    modelled: What data-parallel training sends.
"""
