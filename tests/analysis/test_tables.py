import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest

from analysis.answers.summary import CAVEAT, summary_text
from analysis.data.queries import best_by_construction, read_tables
from analysis.tables import cost, main
from tests.support.synthetic_outcomes import outcomes
from tests.support.synthetic_results import trial, write, write_real


@pytest.fixture
def small(tmp_path):
    """Known numbers without outcomes, as of old folders; the half interval of two seeds is 12.706 · |x1 − x0| / 2."""
    numbers = {"deep": (96.0, 97.0, -60.0), "constrained": (95.0, 95.2, -0.5), "swe": (95.5, 95.5, -3.0)}
    for name, (first, second, q_bar) in numbers.items():
        for seed, accuracy in enumerate((first, second)):
            row = trial(f"{name}{seed}", name, seed, test_q_bar_reset=q_bar - seed, test_soup_accuracy=90.0)
            row |= {"test_accuracy": accuracy, "test_member_mean_accuracy": 94.0 + seed, "test_nll": 0.2 - 0.01 * seed}
            row |= {"test_ece": 1.5} if seed == 0 else {}
            write(tmp_path / "small_&", "trials", row["key"], [row])
    write(tmp_path / "small_&", "trials", "one", [trial("one", "distilled", test_accuracy=97.5, val_accuracy=97.0)])
    return read_tables(tmp_path / "small_&")


MARKDOWN = """\
| dataset | model   | construction | seeds | accuracy (%) | mean member (%) | NLL (nats)    | calibrated log-likelihood (nats) | ECE (%)    | soup (%)     | soup NLL (nats) | q̄ (points)    | one basin    | by loss      | hull         | DEE (members) |
|---------|---------|--------------|-------|--------------|-----------------|---------------|----------------------------------|------------|--------------|-----------------|---------------|--------------|--------------|--------------|---------------|
| digits  | resnet8 | deep         | 2     | 96.50 ± 6.35 | 94.50 ± 6.35    | 0.195 ± 0.064 | –                                | 1.50 (n=1) | 90.00 ± 0.00 | –               | −60.50 ± 6.35 | not measured | not measured | not measured | –             |
| digits  | resnet8 | swe          | 2     | 95.50 ± 0.00 | 94.50 ± 6.35    | 0.195 ± 0.064 | –                                | 1.50 (n=1) | 90.00 ± 0.00 | –               | −3.50 ± 6.35  | not measured | not measured | not measured | –             |
| digits  | resnet8 | constrained  | 2     | 95.10 ± 1.27 | 94.50 ± 6.35    | 0.195 ± 0.064 | –                                | 1.50 (n=1) | 90.00 ± 0.00 | –               | −1.00 ± 6.35  | not measured | not measured | not measured | –             |
| digits  | resnet8 | distilled    | 1     | 97.50        | –               | –             | –                                | –          | –            | –               | –             | not measured | not measured | not measured | –             |

Split: test. Mean ± half of the 95 % interval; bold: best mean of those in one basin.
"""  # noqa: E501


def test_main_table_word_for_word(small):
    sheet = main.build(small)
    assert sheet.markdown() == MARKDOWN
    latex, text = sheet.latex(), sheet.csv()
    assert r"\begin{tabular}{llllllllllllllll}" in latex
    assert r"digits & resnet8 & constrained & 2 & $95.10 \pm 1.27$ & $94.50 \pm 6.35$ & " in latex
    assert text.splitlines()[0] == (
        "dataset,model,construction,seeds,accuracy,accuracy_half,member_mean_accuracy,member_mean_accuracy_half,nll,"
        "nll_half,calibrated_log_likelihood,ece,ece_half,soup_accuracy,soup_accuracy_half,soup_nll,q_bar,q_bar_half,basin_0,"
        "basin_1,basin_2,dee"
    )
    assert text.splitlines()[3].startswith(
        "digits,resnet8,constrained,2,95.1,1.27062,94.5,6.3531,0.195,0.063531,,1.5,,90"
    )
    assert sheet.keys == ["deep0", "deep1", "swe0", "swe1", "constrained0", "constrained1", "one"]
    assert len({len(row) for row in csv.reader(text.splitlines())}) == 1


def test_the_main_table_judges_all_constructions_and_marks_the_best_in_one_basin(full_tables):
    sheet = main.build(full_tables)
    names = [column.name for column in sheet.columns]
    rows = {row[2].value: dict(zip(names, row, strict=True)) for row in sheet.rows}
    assert {name: row["basin_0"].value for name, row in rows.items()} == {
        "deep": "no", "swe": "yes", "constrained": "yes", "permuted": "no", "distilled": "yes", "curve": "yes",
    }  # fmt: skip
    assert {rows[name]["basin_2"].value for name in ("deep", "permuted")} == {"no"}
    inside = {name: row["accuracy"] for name, row in rows.items() if row["basin_0"].value == "yes"}
    best = max(cell.value.mean for cell in inside.values())
    assert {name for name, row in rows.items() if row["accuracy"].bold} == {
        name for name, cell in inside.items() if cell.value.mean == best
    }
    assert rows["constrained"]["accuracy"].value.images == 400
    assert rows["constrained"]["soup_nll"].value.images == 400
    assert re.fullmatch(r"[<>]? ?[\d.]+ \([<>]? ?[\d.]+ to [<>]? ?[\d.]+\)", rows["constrained"]["dee"].value)
    assert rows["deep"]["dee"].value == "4 (reference)"
    headline = main.headline_sheet(full_tables, best_by_construction(full_tables)["digits", "resnet8"])
    assert [row[0].value for row in headline.rows] == list(rows)
    assert headline.rows[0][-1].value == rows["deep"]["dee"].value


def test_names_are_escaped_in_latex_and_equal_bests_are_all_bold(tmp_path):
    for name in ("swe", "my_construction"):
        write(tmp_path, "trials", name, [trial(name, name, members=4, test_soup_accuracy=90.0)])
        write_real(tmp_path, "outcomes", name, outcomes(name, "constrained", np.random.default_rng(0)))
    latex = main.build(read_tables(tmp_path)).latex()
    assert r"my\_construction" in latex
    assert latex.count(r"$\mathbf{90.00 \pm") == 2


def test_each_setting_is_a_block_of_its_own(tmp_path):
    for model in ("resnet8", "vit"):
        write(tmp_path, "trials", model, [trial(model, "swe", model=model, test_accuracy=90.0)])
    assert main.build(read_tables(tmp_path)).latex().count(r"\midrule") == 2


SUMMARY = """\
# demo: 9 finished trials (9 fresh)

## digits · resnet8, test split

- Constrained ensembles are 1.00 points less accurate than the deep ensemble (95 % CI 0.75 to 1.25, 3 seeds).
- Distilled vs. deep: too few seeds (need 3 in common, have 1).
- SWE vs. deep: too few seeds (need 3 in common, have 2).
- Share of the accuracy gap between constrained and deep that distillation closes: too few seeds (need 3 in common, have 1).
- Share of the NLL gap between constrained and deep that distillation closes: too few seeds (need 3 in common, have 0).
- Constrained: whether its members lie in one basin was not measured (no per-image outcomes).
- Distilled: whether its members lie in one basin was not measured (no per-image outcomes).
- SWE: whether its members lie in one basin was not measured (no per-image outcomes).
- Deep: whether its members lie in one basin was not measured (no per-image outcomes).

| construction | seeds | accuracy (%) | mean member (%) | NLL (nats) | soup (%) | q̄ (points)    | one basin    |
|--------------|-------|--------------|-----------------|------------|----------|---------------|--------------|
| deep         | 3     | 96.20 ± 0.66 | –               | –          | –        | −60.00 ± 2.48 | not measured |
| constrained  | 3     | 95.20 ± 0.43 | –               | –          | –        | −0.50 ± 0.00  | not measured |

Not in the table (fewer than 3 seeds): swe (2), distilled (1).

Connectivity q̄ (descriptive: values above 0 are no improvement):

- constrained is 59.50 points higher than deep (95 % CI 57.02 to 61.98, 3 seeds)
- distilled vs. constrained: too few seeds (need 3 in common, have 1)
- distilled vs. deep: too few seeds (need 3 in common, have 1)

Accuracy:

- constrained is 1.00 points worse than deep (95 % CI 0.75 to 1.25, 3 seeds)
- distilled vs. constrained: too few seeds (need 3 in common, have 1)
- distilled vs. deep: too few seeds (need 3 in common, have 1)

NLL:

- constrained vs. deep: too few seeds (need 3 in common, have 0)
- distilled vs. constrained: too few seeds (need 3 in common, have 0)
- distilled vs. deep: too few seeds (need 3 in common, have 0)

"""  # noqa: E501


def test_summary_word_for_word(tmp_path):
    numbers = {
        "deep": [(95.9, -59.0), (96.3, -60.0), (96.4, -61.0)],
        "constrained": [(95.0, -0.5), (95.3, -0.5), (95.3, -0.5)],
        "swe": [(95.0, -1.0), (95.0, -1.0)],
        "distilled": [(96.1, -0.3)],
    }
    for name, values in numbers.items():
        for seed, (accuracy, q_bar) in enumerate(values):
            row = trial(f"{name}{seed}", name, seed, role="fresh", test_accuracy=accuracy, test_q_bar_reset=q_bar)
            write(tmp_path / "demo", "trials", row["key"], [row])
    assert summary_text(read_tables(tmp_path / "demo")) == SUMMARY + CAVEAT + "\n"


def test_summary_names_what_is_absent_and_takes_the_split(full_tables, tmp_path):
    write(tmp_path, "trials", "a", [trial("a")])
    assert "Not compared, because no trial is finished: constrained, distilled." in summary_text(read_tables(tmp_path))
    validation = summary_text(replace(full_tables, split="val"))
    assert "digits · resnet8, val split" in validation
    assert validation != summary_text(full_tables)


def test_wall_time_is_a_median_with_its_range_and_stays_numbers_in_csv(tmp_path):
    for seed, seconds in enumerate((5.0, 6.0, 300.0)):
        row = trial(f"a{seed}", seed=seed, passes=10, seconds=seconds, stage_seconds=1.0)
        write(tmp_path, "trials", row["key"], [row])
    sheet = cost.build(read_tables(tmp_path))
    whole = sheet.rows[0][[column.name for column in sheet.columns].index("whole_seconds")]
    assert whole.text(1) == "7.0 (6.0 to 301.0)"
    lines = list(csv.DictReader(io.StringIO(sheet.csv())))
    assert [lines[0][f"whole_seconds{end}"] for end in ("", "_low", "_high")] == ["7", "6", "301"]
    assert lines[0]["passes"] == "10"
