"""Processes that train one network together, as torchrun starts them.

Modules:
    gradients: Mean gradients over the ranks, and the statistics of batch norm.
    joining: Joining the other processes that torchrun started, leaving them, and failing with them.
    launch: The variables that torchrun gives the processes it starts.
    ranks: The processes of a job as each of them sees the others: who it is, and what they tell one another.
    settings: How the processes of one job share its work; without torchrun there is one, and none of this matters.
    shares: The part of every batch that a process takes, where several train or score together.
"""
