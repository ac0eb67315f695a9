"""Predictions to score."""

import math
from collections.abc import Callable
from itertools import combinations, permutations

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


DEGENERATE: dict[str, Callable[[int], tuple[Tensor, Tensor]]] = {
    "one class": lambda images: (torch.zeros(3, images, 1).double(), torch.zeros(images, dtype=torch.int64)),
    "ties": lambda images: (torch.zeros(3, images, 7).double().log_softmax(dim=2), answers(images)),
    "all right": lambda images: (right(answers(images)), answers(images)),
    "all wrong": lambda images: (right((answers(images) + 1) % 7), answers(images)),
    "one member wrong": lambda images: (
        torch.cat([right(answers(images)), right((answers(images) + 1) % 7, members=1)]),
        answers(images),
    ),
    "a single member": lambda images: (predictions(1, images), answers(images)),
    "always the same": lambda images: (right(torch.zeros_like(answers(images))), answers(images)),
    "some certain": lambda images: (
        torch.where(torch.arange(images)[:, None] % 3 == 0, right(answers(images)), predictions(2, images)),
        answers(images),
    ),
}
"""Number of images → predictions and labels at the edges of what there can be."""


def slow(log_probs: Tensor, labels: Tensor, ood: Tensor | None = None) -> dict[str, float]:
    """Every metric but those with a fitted temperature, from Python's own numbers."""
    probs, truth = log_probs.exp().tolist(), labels.tolist()
    members, images = log_probs.shape[:2]
    mean = averaged(probs)

    def each(value: Callable[[int], float]) -> float:
        return sum(value(n) for n in range(images)) / images

    def correct(rows: Rows) -> float:
        return 100 * each(lambda n: best(rows[n]) == truth[n])

    def loss(rows: Rows) -> float:
        return each(lambda n: -log(rows[n][truth[n]]))

    def gap(n: int) -> float:
        if mean[n][truth[n]] == 0:
            return 0.0
        return sum(-log(rows[n][truth[n]]) for rows in probs) / members + log(mean[n][truth[n]])

    accuracies, losses = [correct(rows) for rows in probs], [loss(rows) for rows in probs]
    sure = [max(row) for row in mean]
    hits = [best(row) == y for row, y in zip(mean, truth, strict=True)]
    pairs = [
        each(lambda n: 100 * (best(probs[i][n]) != best(probs[j][n])))  # noqa: B023 (called at once)
        for i, j in combinations(range(members), 2)
    ]
    differ = sum(pairs) / len(pairs) if pairs else 0.0
    wrong = 100 - correct(mean)
    ordered = list(permutations(range(members), 2))
    informed = [entropy(row) - sum(entropy(rows[n]) for rows in probs) / members for n, row in enumerate(mean)]
    apart = [divergence(probs[i][n], probs[j][n]) for i, j in ordered for n in range(images)]
    found = {
        "accuracy": correct(mean),
        "member_mean_accuracy": sum(accuracies) / members,
        "member_best_accuracy": max(accuracies),
        "member_worst_accuracy": min(accuracies),
        "nll": loss(mean),
        "logit_average_nll": each(lambda n: -log_of_averaged_logits([rows[n] for rows in probs], truth[n])),
        "member_mean_nll": sum(losses) / members,
        "jensen_gap": each(gap),
        "brier": each(lambda n: sum((p - (c == truth[n])) ** 2 for c, p in enumerate(mean[n]))),
        "ece": 100
        * gaps([[n for n in range(images) if b / 15 < sure[n] <= (b + 1) / 15] for b in range(15)], sure, hits),
        "adaptive_ece": 100 * gaps(equal_masses(sure), sure, hits),
        "disagreement": differ,
        "normalised_disagreement": differ / wrong if wrong else (math.inf if differ else 0.0),
        "mutual_information": sum(informed) / images,
        "kl_pairs": sum(apart) / len(apart) if apart else 0.0,
        "error_correlation": correlation(
            [[best(row) != y for row, y in zip(rows, truth, strict=True)] for rows in probs]
        ),
    }
    if ood is not None:
        other = averaged(ood.exp().tolist())
        found["ood_auroc_max_probability"] = auroc(sure, [max(row) for row in other])
        found["ood_auroc_entropy"] = auroc([-entropy(row) for row in mean], [-entropy(row) for row in other])
    return found


Rows = list[list[float]]


def averaged(probs: list[Rows]) -> Rows:
    return [[sum(values) / len(probs) for values in zip(*rows, strict=True)] for rows in zip(*probs, strict=True)]


def best(row: list[float]) -> int:
    return row.index(max(row))


def log(p: float) -> float:
    return math.log(p) if p > 0 else -math.inf


def entropy(row: list[float]) -> float:
    return -sum(p * math.log(p) for p in row if p > 0)


def divergence(p: list[float], q: list[float]) -> float:
    return sum(a * (math.log(a) - log(b)) for a, b in zip(p, q, strict=True) if a > 0)


def log_of_averaged_logits(rows: Rows, label: int) -> float:
    """log softmax of the mean log-probabilities, −inf for probability 0; uniform if no class is left."""
    logits = [sum(log(p) for p in values) / len(rows) for values in zip(*rows, strict=True)]
    if max(logits) == -math.inf:
        return -math.log(len(logits))
    return logits[label] - math.log(sum(math.exp(z) for z in logits))


def gaps(bins: list[list[int]], sure: list[float], hits: list[bool]) -> float:
    """Σ over bins of |Σ confidence − number right|, by the number of images."""
    return sum(abs(sum(hits[n] for n in own) - sum(sure[n] for n in own)) for own in bins) / len(sure)


def equal_masses(sure: list[float]) -> list[list[int]]:
    """Bin b ends at the confidence of rank ⌈bN/15⌉; equal confidences share the first bin that they reach."""
    ends = [sorted(sure)[max(0, math.ceil(b * len(sure) / 15) - 1)] for b in range(1, 15)]
    return [[n for n, p in enumerate(sure) if sum(p > end for end in ends) == b] for b in range(15)]


def correlation(errors: list[list[bool]]) -> float:
    """Pearson's r of each pair of rows, 0 where one is constant, mean over pairs; a single row with itself."""
    found = []
    for a, b in list(combinations(errors, 2)) or [(errors[0], errors[0])]:
        centred = [[value - sum(row) / len(row) for value in row] for row in (a, b)]
        across = sum(x * y for x, y in zip(*centred, strict=True))
        scale = math.prod(sum(x * x for x in row) for row in centred) ** 0.5
        found.append(across / scale if scale else 0.0)
    return sum(found) / len(found)


def auroc(own: list[float], other: list[float]) -> float:
    """Pairs in the right order, ties (and what rounding alone tells apart) half."""
    near = [0.5 if math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-12) else float(a > b) for a in own for b in other]
    return sum(near) / len(near)
