"""How fast this machine searches and retrains: the parts of `nas bench`, each from a workbench to figures.

Modules:
    communication: What data-parallel ranks send: measured here, modelled over other links.
    eager: The baseline: a straightforward training loop in a process of its own.
    epochs: The controller's times, the shares of a search's epoch, and whole searches and retrainings, extrapolated.
    loader: Images a second of streamed pictures, as ImageNet is trained.
    memory: What a search occupies: weights, optimizer, and what a training step needs besides.
    roofline: A floor for the time of a training step.
    scaling: How the cost of a search step grows with blocks, filters, batch size and the number of candidate ops.
    settings: What a benchmark measures, and how often.
    steps: Training steps and rewards: images a second, the eager loop, plain networks, and each runtime switch.
    tables: The figures of a benchmark as tables.
    workbench: What the parts of a benchmark work on.
"""
