"""Trials that a machine can run at once."""

from basin.processors import usable_cpus
from sweeps.execution.options import Options


def fitting_trials(options: Options) -> int:
    """Return the number of trials that this machine can run at once, at least 1."""
    fits = [usable_cpus() / options.cpus_per_trial] if options.cpus_per_trial else []
    if options.gpus_per_trial:
        import torch  # slow

        fits.append(torch.cuda.device_count() / options.gpus_per_trial)
    return max(1, int(min(fits)))
