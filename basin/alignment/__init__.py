"""Networks brought near each other by permuting hidden units, which changes no prediction.

Git Re-Basin (Ainsworth 2023) finds the permutations from weights, or from activations; REPAIR (Jordan 2023) mends
the statistics of mixed networks. Which units can be permuted is said beside each model (`basin.models.symmetry`).
"""
