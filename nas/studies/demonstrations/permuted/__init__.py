"""Images behind an unknown permutation of their pixels.

Modules:
    images: Images behind an unknown permutation of their pixels.
    pixel_permutations: Total variation, and learners that find an unknown permutation of pixels again by it.
    plots: Figures of the demonstration: images restored, accuracies, and matrices while they are learned.
"""
