"""Images behind an unknown permutation of their pixels.

Modules:
    images: Images behind an unknown permutation of their pixels, found again by a learned permutation before the ...
    pixel_permutations: Learners that find an unknown permutation of pixels again, by the total variation of the ...
    plots: Figures of `nas.studies.demonstrations.permuted.images`.
    settings: How large the task of the permuted images is, and how long its permutations and networks are learned.
    total_variation: The total variation of images whose pixels are permuted.
"""
