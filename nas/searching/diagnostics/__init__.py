"""Diagnostics of a search: the figures that record every epoch, and the rules by which a user is warned.

Modules:
    collapse: The rules by which a search goes wrong: a collapsed policy, a takeover by ops without weights, repeats.
    insight: What a finished search has learned, in words.
    settings: Settings of the guard, which warns of a search whose policy collapsed.
    watch: A watch over a search: records every epoch, says what it finds, and acts on it.
"""
