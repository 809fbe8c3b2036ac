"""Processes that train one network together, as torchrun starts them.

Modules:
    gradients: Mean gradients over the ranks, and the statistics of batch norm.
    joining: Joining the other processes that torchrun started, leaving them, and failing with them.
    launch: What torchrun tells the processes that it starts.
    ranks: The processes of a job as each of them sees the others: who it is, and what they tell one another.
    settings: How the processes of one job share its work; without torchrun there is one, and none of this matters.
    shares: Which part of every batch a process takes, where several train or score together.
"""
