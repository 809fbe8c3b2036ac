"""The baseline: a straightforward training loop in a process of its own.

Modules:
    loop: The baseline: a training loop as one writes it first, on the same network and cell.
    process: The straightforward loop in a process of its own, as a script would run it.
"""
