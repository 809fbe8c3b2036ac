"""The parts of `nas bench`: how fast this machine searches and retrains.

Modules:
    communication: The gradients that data-parallel ranks send: measured here, modelled over other links.
    eager: The baseline: a straightforward training loop in a process of its own.
    epochs: The controller's times, the shares of a search's epoch, and whole searches and retrainings, extrapolated.
    loader: Images a second of streamed pictures, as ImageNet is trained.
    roofline: A lower bound of the time of a training step.
    scaling: The memory and time of a supernet as it grows.
    settings: Settings of `nas bench`.
    steps: Training steps and rewards: images a second, the eager loop, plain networks, and each runtime switch.
    tables: Printing the figures of a benchmark as tables.
    workbench: The object that all parts of a benchmark share.
"""
