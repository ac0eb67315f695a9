"""What is trained while a test runs."""

from typing import Any

import pytest

from basin import stages, task


def watch_training(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list to which the arguments of every training from now on are added."""
    trainings: list[object] = []
    for module in (stages, task):
        real = module.train

        def train(*args: Any, real: Any = real, **more: Any) -> Any:
            trainings.append(args)
            return real(*args, **more)

        monkeypatch.setattr(module, "train", train)
    return trainings
