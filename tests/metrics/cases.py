"""Predictions to score."""

import math
from itertools import combinations

import torch
from torch import Tensor


def predictions(members: int, images: int = 200, classes: int = 7, seed: int = 0, scale: float = 2) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.log_softmax(scale * torch.randn(members, images, classes, generator=draw, dtype=torch.float64), dim=2)


def answers(images: int = 200, classes: int = 7, seed: int = 0) -> Tensor:
    return torch.randint(classes, (images,), generator=torch.Generator().manual_seed(seed + 99))


def drawn(log_probs: Tensor, seed: int = 0) -> Tensor:
    """Labels drawn from predictions, which then are calibrated but for chance."""
    return torch.multinomial(log_probs.exp(), 1, generator=torch.Generator().manual_seed(seed)).squeeze(1)


def right(labels: Tensor, classes: int = 7, members: int = 2) -> Tensor:
    """Log-probabilities of members that are certain and right."""
    return torch.nn.functional.one_hot(labels, classes).double().log().repeat(members, 1, 1)


def slow(log_probs: Tensor, labels: Tensor) -> dict[str, float]:
    """Every metric, from Python's own numbers."""
    probs, truth = log_probs.exp().tolist(), labels.tolist()
    members, images, classes = log_probs.shape
    mean = [[sum(probs[m][n][c] for m in range(members)) / members for c in range(classes)] for n in range(images)]

    def best(row: list[float]) -> int:
        return row.index(max(row))

    def correct(rows: list[list[float]]) -> float:
        return 100 * sum(best(row) == y for row, y in zip(rows, truth, strict=True)) / images

    def loss(rows: list[list[float]]) -> float:
        return -sum(math.log(row[y]) for row, y in zip(rows, truth, strict=True)) / images

    accuracies, losses = [correct(rows) for rows in probs], [loss(rows) for rows in probs]
    calibration = 0.0
    for b in range(15):
        inside = [n for n in range(images) if b / 15 < max(mean[n]) <= (b + 1) / 15]
        hits, sure = sum(best(mean[n]) == truth[n] for n in inside), sum(max(mean[n]) for n in inside)
        calibration += 100 * abs(hits - sure) / images
    squares = sum(sum((p - (c == y)) ** 2 for c, p in enumerate(row)) for row, y in zip(mean, truth, strict=True))
    pairs = [
        100 * sum(best(probs[i][n]) != best(probs[j][n]) for n in range(images)) / images
        for i, j in combinations(range(members), 2)
    ]
    return {
        "accuracy": correct(mean),
        "member_mean_accuracy": sum(accuracies) / members,
        "member_best_accuracy": max(accuracies),
        "member_worst_accuracy": min(accuracies),
        "nll": loss(mean),
        "member_mean_nll": sum(losses) / members,
        "jensen_gap": sum(losses) / members - loss(mean),
        "brier": squares / images,
        "ece": calibration,
        "disagreement": sum(pairs) / len(pairs) if pairs else 0.0,
        "normalised_disagreement": sum(pairs) / len(pairs) / (100 - correct(mean)) if pairs else 0.0,
    }
