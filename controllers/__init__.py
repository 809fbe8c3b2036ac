"""HOW to choose: controllers see nothing but decisions and return the actions they took.

Modules:
    ask_tell: Ask for architectures, tell what they were worth: a controller with a memory of what is known.
    bayesian: Bayesian optimisation with a Gaussian process.
    best_architectures: The best architectures that a search has met lately, for a policy to learn from again.
    evolution: Regularized evolution (Real et al. 2019, arXiv:1802.01548, Algorithm 1).
    independent: One softmax a decision, each independent of the others.
    largest_first: The architectures with the most weights first; a warning, not a method.
    local_search: Local search: the first neighbour that is better is moved to.
    lstm: The LSTM policy of ENAS (Pham et al. 2018, arXiv:1802.03268, §2.2–2.4; constants of the authors' code).
    policy: The part of a policy that all have: decisions, and the probability of given answers as a whole.
    policy_gradients: The parts of a policy gradient: objective, baseline, entropy bonus and optimizer.
    protocol: What every controller offers, and what it returns.
    reinforce: Policy gradients on a policy over architectures.
    testing: What every controller must do, as tests for one of your own.
    uniform: Random search: every choice of every decision equally likely, nothing learned.
"""
