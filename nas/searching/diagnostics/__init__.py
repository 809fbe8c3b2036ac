"""Whether a search is healthy: what every epoch is recorded by, and when a user is warned.

Modules:
    collapse: When a search goes wrong: the policy collapses, ops without weights take over, samples repeat.
    recording: What every epoch of a search is recorded by.
    settings: When a user is warned of a search, and what is done about it.
    watch: A watch over a search: records every epoch, says what it finds, and acts on it.
"""
