"""How fast this machine searches and retrains: the parts of `nas bench`, each from a workbench to figures.

Modules:
    communication/: What data-parallel ranks send: measured here, modelled over other links.
    controller: What a controller costs for each architecture.
    eager/: The baseline: a straightforward training loop in a process of its own.
    loader: Images a second of streamed pictures, as ImageNet is trained.
    memory: What a search occupies: weights, optimizer, and what a training step needs besides.
    roofline: A floor beside the time of a training step.
    scaling: How the cost of a search step grows with blocks, filters, batch size and the number of candidate ops.
    settings: What a benchmark measures, and how often.
    shares: What takes the time of a search's epoch.
    supernet: Does a step on a sampled cell of the supernet cost what the same cell costs as a plain network?
    switches: What each switch of the runtime gains: the same training steps with one switched off at a time.
    tables: The figures of a benchmark as tables, and the line that sums up each part.
    targets: How long a whole search and a whole retraining would take here, from the times of their pieces.
    throughput: Images a second of the three passes that searching and retraining are made of.
    workbench: What the parts of a benchmark work on.
"""
