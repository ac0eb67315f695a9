"""Align networks by permuting hidden units, which leaves their predictions unchanged.

Git Re-Basin (Ainsworth 2023) finds the permutations from weights, or from activations; REPAIR (Jordan 2023) corrects
the channel statistics of mixed networks. Which units can be permuted is declared by the model or traced from its module
(`basin.models.symmetry`).
"""
