"""Processes that train one network together, as torchrun starts them.

Modules:
    batch_norms: Batch norm on several ranks.
    failures: How a failure of one of several processes ends them all, and is told once.
    gradients: Mean gradients over the ranks, by torch or by one tensor for a path of a search.
    joining: Joining the other processes that torchrun started, on a device of one's own, and leaving them.
    launch: What torchrun tells the processes that it starts.
    ranks: The processes of a job as each of them sees the others: who it is, and what they tell one another.
    settings: How the processes of one job share its work; without torchrun there is one, and none of this matters.
    shares: Which part of every batch a process takes, where several train or score together.
"""
