"""The benchmarks of measuring: their arithmetic by hand, and each to its end on a tiny network."""

import numpy as np
import pytest
import torch

from basin.models.resnet import ResNet
from benchmarks import measuring, statistics_images
from benchmarks.measuring import STUDIES, Study
from benchmarks.options import Options
from benchmarks.statistics_images import Difference, draw_images
from tests.benchmarks.test_engine import needs_avx512


def test_a_report_costs_its_networks_times_their_images() -> None:
    study = Study(name="", epochs=2, train_size=100, alphas=5, pairs=4, hull_points=2, bn_images=10, path_images=30)
    # Three inner points on each of four paths, three ends, the centroid and two points of the hull.
    assert study.networks(3) == 4 * 3 + 3 + 1 + 2
    costs = {"training": 4.0, "statistics, float32": 2.0, "scoring, float32": 1.0, "mixing": 5.0}
    # 18 networks of 10·2 + 30·1 + 5 against 2 epochs of 100 images of 3 members at 4.
    assert study.share(3, costs, "float32") == pytest.approx(100 * 18 * 55 / (600 * 4))
    every = Study(name="", train_size=100)
    assert every.networks(8) == 28 * 9 + 8 + 1 + 8


def test_a_folded_network_answers_as_before_without_batchnorm() -> None:
    module = ResNet(depth=8, width=0.25).build((3, 8, 8), 5)
    images = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    module(images)  # statistics other than 0 and 1
    module.eval().requires_grad_(False)
    folded = measuring.fold_batchnorms(module)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in folded.modules())
    torch.testing.assert_close(folded(images), module(images), rtol=1e-4, atol=1e-5)


@needs_avx512
def test_measuring_runs_to_its_end() -> None:
    report = measuring.run(Options(repeats=1, changes=measuring.QUICK))
    parts, studies = report.sections
    assert "module, BatchNorm folded, bfloat16" in parts
    assert all(study.name in studies for study in STUDIES)


def test_draws_are_disjoint_while_there_are_enough_images() -> None:
    first, second, third = draw_images(10, 4, 3)
    assert len({*first.tolist(), *second.tolist()}) == 8
    assert len(set(third.tolist())) == 4
    (again,) = draw_images(10, 4, 1)
    assert torch.equal(again, first)


def test_a_difference_is_of_the_network_where_it_is_largest() -> None:
    drawn = [np.array([50.0, 60.0]), np.array([52.0, 63.0])]
    found = Difference.between(drawn, np.array([51.0, 60.0]))
    assert (found.mean, found.most) == (1.5, 3.0)  # networks: 1 and 1; 0 and 3
    assert found.deviation == pytest.approx(np.sqrt((2.0 + 4.5) / 2))  # variances over draws: 2 and 4.5


def test_statistics_images_runs_to_its_end() -> None:
    report = statistics_images.run(Options(changes=statistics_images.QUICK))
    assert [section.count("\n| ") for section in report.sections] == [4, 4]  # heads, rule, two numbers of images
    for name in ("connected", "deep"):
        assert report.numbers[f"{name}: training images"] == 80
