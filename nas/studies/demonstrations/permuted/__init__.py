"""Images behind an unknown permutation of their pixels.

Modules:
    images: Images behind an unknown permutation of their pixels.
    pixel_permutations: Learners that find an unknown permutation of pixels again.
    plots: Figures of the demonstration: images restored, accuracies, and matrices while they are learned.
    total_variation: The total variation of images whose pixels are permuted.
"""
