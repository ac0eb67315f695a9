"""Statistics of ensembles: verdicts, intervals, equivalents and Pareto fronts.

Needs NumPy and SciPy only, and imports nothing else of this project, so that every other package can use it.
"""
