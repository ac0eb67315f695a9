"""The sentences: what they say, from numbers known by hand or by the synthetic outcomes."""

import re

import numpy as np
import pytest

from analysis.answers.headline import answer_questions
from analysis.answers.judgements import _loss_words
from analysis.answers.summary import summary_text
from analysis.answers.verdicts import Judgement
from analysis.answers.worth import confidence_words, deep_equivalent, in_text, spell_out, worth_cell
from analysis.data.queries import best_by_construction, read_tables
from stats.equivalent import Equivalent, deep_ensemble_equivalent
from stats.verdicts import bounds, decide
from tests.support.synthetic_outcomes import outcomes
from tests.support.synthetic_results import trial, write, write_real


def told(tables):
    (lines,) = answer_questions(tables).values()
    return lines


def paths(key, middle, ends=(90.0, 94.0)):
    """Two pairs; the second pair's midpoint is 2 points higher. Another policy and split say otherwise."""
    rows = []
    for j, more in ((1, 0.0), (2, 2.0)):
        for alpha, accuracy in ((0.0, ends[0]), (0.5, middle + more), (0.75, 0.0), (1.0, ends[1])):
            row = {"key": key, "split": "test", "policy": "reset", "i": 0, "j": j, "alpha": alpha, "accuracy": accuracy}
            rows += [row, row | {"policy": "interp", "accuracy": 1.0}, row | {"split": "val", "accuracy": 2.0}]
    return rows


def halfway(folder, **middles):
    for name, values in middles.items():
        for seed, middle in enumerate(values):
            key = f"{name}{seed}"
            write(folder, "trials", key, [trial(key, name, seed, role="fresh", test_accuracy=90.0)])
            write(folder, "paths", key, paths(key, middle))
    return told(read_tables(folder))[0]


def test_the_first_sentence_states_accuracy_halfway(tmp_path):
    found = halfway(tmp_path / "1", deep=[20.0, 32.0], constrained=[91.0, 93.0])
    assert found == (
        "Halfway between two independent networks accuracy falls to 27 %, between members of the constrained ensemble "
        "it stays at 93 % (the ends of these paths reach 92 %)."
    )
    found = halfway(tmp_path / "2", deep=[20.0], constrained=[91.0], swe=[90.0], permuted=[60.0])
    assert "members of the constrained ensemble it stays at 92 % (SWE 91 %), between members of the permuted" in found
    assert "permuted ensemble it falls to 61 % (" in found
    alone = halfway(tmp_path / "3", constrained=[92.0])
    assert alone.startswith("Halfway between members of the constrained ensemble accuracy stays at 93 % (the ends")


def test_verdicts_are_told_with_their_scope_and_the_weakest_pair(full_tables):
    lines = told(full_tables)
    constrained = next(line for line in lines if line.startswith("Constrained: "))
    assert constrained.startswith(
        "Constrained: in one basin by accuracy (these 3 seeds, 300 images); the average path is "
    )
    assert re.search(
        r"worse than the chord \(margin 2\); weakest pair: members \d and \d at α = 0\.\d of seed \d", constrained
    )
    assert re.search(r"points \(simultaneous 95 % CI \S+ to \S+\)\. By loss: in one basin", constrained)
    assert "Its hull: in one basin (centroid and average random point are" in constrained
    deep = next(line for line in lines if line.startswith("Deep: "))
    assert deep.startswith("Deep: not in one basin by accuracy (these 3 seeds, 300 images); some path is at least ")
    assert "; weakest pair: members " in deep
    assert "The hull is not a basin: " in deep
    assert re.search(r"By loss: not in one basin \(some path is at least [\d.]+ nats .*; weakest pair: members ", deep)
    assert not any(word in line for line in lines for word in ("not known", "None", "nan"))


def test_a_construction_that_analysis_has_never_heard_of_is_in_every_sentence_and_table(full_tables):
    """`curve` stands in no file of analysis."""
    lines = told(full_tables)
    assert ", curve 94 %)" in lines[0]
    starts = ("Curve: in one basin", "Curve vs. deep: no measurable", "Curve vs. deep: members are")
    starts += ("The soup of the curve ensemble", "By calibrated log-likelihood the curve ensemble")
    for start in starts:
        assert sum(line.startswith(start) for line in lines) == 1, start
    text = summary_text(full_tables)
    assert "| curve " in text
    assert text.count("\n- curve ") == 3  # connectivity, accuracy and NLL against the deep ensemble


def test_an_undecided_verdict_says_how_many_images_would_decide(full_results):
    """At a margin just below the upper bound of the constrained ensemble."""
    tables = read_tables(full_results, margin=0.1)
    line = next(line for line in told(tables) if line.startswith("Distilled: "))
    assert line.startswith("Distilled: undecided by accuracy (these 3 seeds, 300 images); the average path is at most ")
    assert re.search(r"\(margin 0\.1\), and about [\d,]+ images would decide; weakest pair: ", line)


def soup_of(folder, members, accuracies, soups):
    """Outcomes of one construction whose ensemble, members and soup are right on these shares of 200 images."""
    for seed, (whole, soup) in enumerate(zip(accuracies, soups, strict=True)):
        key = f"swe{seed}"
        rows = outcomes(key, "swe", np.random.default_rng(seed))
        score = {"test_accuracy": whole, "test_soup_accuracy": soup, "test_member_mean_accuracy": members}
        write(folder, "trials", key, [trial(key, "swe", seed, role="fresh", members=4, **score)])
        assert rows
    return next(line for line in told(read_tables(folder)) if line.startswith("The soup"))


def test_the_soup_keeps_a_part_of_what_the_ensemble_gains(tmp_path):
    gain = soup_of(tmp_path / "1", 90.0, [92.0, 92.1, 91.8], [91.5, 91.7, 91.3])
    assert "(one network, 1/4 of the inference cost) reaches 91.5 %: 1.50 points more accurate than the mean" in gain
    # Soup − mean member is 1.5, 1.7, 1.3: t(0.975, 2) · 0.2/√3 = 0.497. Soup − ensemble is −0.5, −0.4, −0.5.
    assert "than the mean member (95 % CI 1.00 to 2.00)" in gain
    assert "0.47 points less accurate than the ensemble (95 % CI 0.32 to 0.61), over 3 seeds" in gain
    none = soup_of(tmp_path / "2", 92.0, [92.0, 93.0, 91.0], [91.5, 92.6, 90.4])
    assert "not measurably different from the mean member (−0.50 points, 95 % CI −3.23 to 2.23)" in none
    worse = soup_of(tmp_path / "3", 90.0, [92.0, 92.1, 91.8], [50.0, 50.1, 49.9])
    assert "40.00 points less accurate than the mean member" in worse


def test_two_seeds_say_nothing_of_a_difference(tmp_path):
    line = soup_of(tmp_path / "1", 90.0, [92.0, 92.1], [91.5, 91.6])
    assert line.endswith("reaches 91.5 %.") or line.endswith("reaches 91.6 %.")
    for seed in (0, 1):
        for name, value in (("constrained", 94.0 + seed / 10), ("deep", 90.0)):
            key = f"{name}{seed}"
            scores = {"test_accuracy": value, "test_nll": 1 - value / 100, "test_q_bar_reset": value - 94}
            write(tmp_path / "2", "trials", key, [trial(key, name, seed, role="fresh", **scores)])
    text = summary_text(read_tables(tmp_path / "2"))
    assert "too few seeds (need 3 in common, have 2)" in text
    assert not re.search(r" points (higher|lower|better|worse|more|less)|no measurable|vs\. deep: \d", text)


def test_an_average_that_dips_nowhere_is_said_of_the_average(tmp_path):
    """Three seeds whose loss falls between the members everywhere."""
    found = Judgement(decide(bounds(np.full((1, 1, 1, 50), -0.1), worst=None), 0.05), "loss", False, 0, "members")
    assert "the average path is nowhere worse than the chord" in _loss_words(found)


def test_the_equivalent_is_told_with_its_interval(full_tables):
    line = next(line for line in told(full_tables) if "the constrained ensemble of 4 members is worth" in line)
    assert "95 % CI" in line


def test_equivalents_in_words():
    exact, beyond = (
        deep_ensemble_equivalent(-0.4, {1: -0.5, 2: -0.4}),
        deep_ensemble_equivalent(0.0, {1: -0.5, 2: -0.4}),
    )
    assert [in_text(None), in_text(exact), in_text(beyond)] == [None, "2.00", "> 2"]
    assert in_text(Equivalent(1.5, 1.5, (Equivalent(0.0, 1), beyond))) == "1.50 (< 1 to > 2)"
    below = Equivalent(0.0, 1)
    assert confidence_words(exact) is None
    assert confidence_words(Equivalent(1.5, 1.5, (exact, beyond))) == "at least 2 members (95 % CI)"
    assert confidence_words(Equivalent(1.5, 1.5, (below, exact))) == "at most 2 members (95 % CI)"
    assert confidence_words(Equivalent(1.5, 1.5, (exact, exact))) == "between 2.00 and 2.00 members (95 % CI)"
    assert "beyond both ends" in confidence_words(Equivalent(1.5, 1.5, (below, beyond)))
    assert [spell_out(found) for found in (beyond, below, exact)] == [
        "a deep ensemble of more than 2 members",
        "less than a single network",
        "a deep ensemble of 2.00 members",
    ]


def test_a_deep_ensemble_is_the_reference_of_its_own_curve(full_tables):
    (by_name,) = best_by_construction(full_tables).values()
    assert worth_cell(full_tables, by_name["deep"]) == "4 (reference)"
    assert worth_cell(full_tables, by_name["constrained"]) == in_text(
        deep_equivalent(full_tables, by_name["constrained"])
    )


def test_numbers_of_seeds_that_were_searched_are_marked(tmp_path):
    for role in ("search", "fresh"):
        write(tmp_path / role, "trials", "a", [trial("a", "swe", role=role, test_accuracy=90.0)])
    assert "Reported on the seeds of the search" in told(read_tables(tmp_path / "search"))[-1]
    assert told(read_tables(tmp_path / "search"))[-1].endswith("SWE.")
    assert not any("seeds of the search" in line for line in told(read_tables(tmp_path / "fresh")))


@pytest.mark.parametrize(
    ("accuracies", "words"),
    [
        ([90.0, 90.0, 90.0], "SWE vs. deep: the same accuracy for each of 3 seeds."),
        ([91.0, 91.0, 91.0], "SWE vs. deep: 1.00 points of accuracy for each of 3 seeds."),
        ([91.0, 89.0, 90.5], "SWE vs. deep: no measurable difference in accuracy, 0.17 points (95 % CI −2.42 to 2.75"),
        (
            [91.0, 91.2, 91.1],
            "SWE ensembles are 1.10 points more accurate than the deep ensemble (95 % CI 0.85 to 1.35",
        ),
    ],
)
def test_prices_are_as_strong_as_their_intervals(accuracies, words, tmp_path):
    for seed, accuracy in enumerate(accuracies):
        for name, value in (("swe", accuracy), ("deep", 90.0)):
            write(tmp_path, "trials", f"{name}{seed}", [trial(f"{name}{seed}", name, seed, test_accuracy=value)])
    assert any(line.startswith(words) for line in told(read_tables(tmp_path)))


def test_a_gap_is_split_into_members_and_diversity(tmp_path):
    for seed, shift in enumerate((0.0, 0.01, -0.01)):
        for name, nll, gap in (("deep", 0.30, 0.10), ("constrained", 0.34 + shift, 0.05 + shift / 10)):
            row = trial(f"{name}{seed}", name, seed, test_member_mean_nll=nll, test_jensen_gap=gap)
            write(tmp_path, "trials", row["key"], [row])
    words = "Constrained vs. deep: members are 0.040 nats worse; diversity contributes 0.050 nats less."
    assert words in told(read_tables(tmp_path))


def test_the_real_schema_writes_what_the_sentences_read(tmp_path):
    row = trial("a", "swe", role="fresh", members=4, test_accuracy=90.0)
    write_real(tmp_path, "trials", "a", [row])
    write_real(tmp_path, "outcomes", "a", outcomes("a", "swe", np.random.default_rng(0)))
    assert told(read_tables(tmp_path))[0].startswith("SWE: in one basin by accuracy (this seed, 300 images)")
