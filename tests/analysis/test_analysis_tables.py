import csv
from dataclasses import replace

import pytest
from synthetic_results import trial, write

from analysis.queries import read
from analysis.summary import summary
from analysis.tables import main


@pytest.fixture
def small(tmp_path):
    """Known numbers; the half interval of two seeds is t(0.975, 1) · |x1 − x0| / 2 = 12.706 · |x1 − x0| / 2."""
    numbers = {
        "deep": (96.0, 97.0, -60.0, 70.0),
        "constrained": (95.0, 95.2, -0.5, 1.0),
        "swe": (95.5, 95.5, -3.0, 4.0),
    }
    for name, (first, second, q_bar, barrier) in numbers.items():
        for seed, accuracy in enumerate((first, second)):
            row = trial(f"{name}{seed}", name, seed, val_barrier_reset=barrier, test_q_bar_reset=q_bar - seed)
            row |= {"test_accuracy": accuracy, "test_member_mean_accuracy": 94.0 + seed, "test_nll": 0.2 - 0.01 * seed}
            row |= {"test_ece": 1.5} if seed == 0 else {}
            write(tmp_path / "small_&", "trials", row["key"], [row])
    one = trial("one", "distilled", test_accuracy=97.5, val_accuracy=97.0, val_barrier_reset=0.5)
    write(tmp_path / "small_&", "trials", "one", [one])
    return read(tmp_path / "small_&")


MARKDOWN = """\
| dataset | model   | construction | seeds | accuracy (%) | mean member (%)  | NLL (nats)        | calibrated NLL (nats) | ECE (%)        | q̄ (points)    | DEE (members) |
|---------|---------|--------------|-------|--------------|------------------|-------------------|-----------------------|----------------|---------------|---------------|
| digits  | resnet8 | deep         | 2     | 96.50 ± 6.35 | 94.50 ± 6.35     | 0.195 ± 0.064     | –                     | 1.50 (n=1)     | −60.50 ± 6.35 | –             |
| digits  | resnet8 | swe          | 2     | 95.50 ± 0.00 | 94.50 ± 6.35     | 0.195 ± 0.064     | –                     | 1.50 (n=1)     | −3.50 ± 6.35  | –             |
| digits  | resnet8 | constrained  | 2     | 95.10 ± 1.27 | **94.50 ± 6.35** | **0.195 ± 0.064** | –                     | **1.50 (n=1)** | −1.00 ± 6.35  | –             |
| digits  | resnet8 | distilled    | 1     | **97.50**    | –                | –                 | –                     | –              | –             | –             |

Split: test. Mean ± half of the 95 % t interval over seeds; bold: best mean of the connected. DEE needs deep ensembles of several sizes: python launch.py sweep ensemble-size, then --with ensemble-size.
"""  # noqa: E501

LATEX = r"""% Split: test. Mean ± half of the 95 % t interval over seeds; bold: best mean of the connected. DEE needs deep ensembles of several sizes: python launch.py sweep ensemble-size, then --with ensemble-size.
\begin{tabular}{lllllllllll}
\toprule
dataset & model & construction & seeds & accuracy (\%) & mean member (\%) & NLL (nats) & calibrated NLL (nats) & ECE (\%) & $\bar q$ (points) & DEE (members) \\
\midrule
digits & resnet8 & deep & 2 & $96.50 \pm 6.35$ & $94.50 \pm 6.35$ & $0.195 \pm 0.064$ & -- & $1.50$ ($n=1$) & $-60.50 \pm 6.35$ & -- \\
digits & resnet8 & swe & 2 & $95.50 \pm 0.00$ & $94.50 \pm 6.35$ & $0.195 \pm 0.064$ & -- & $1.50$ ($n=1$) & $-3.50 \pm 6.35$ & -- \\
digits & resnet8 & constrained & 2 & $95.10 \pm 1.27$ & $\mathbf{94.50 \pm 6.35}$ & $\mathbf{0.195 \pm 0.064}$ & -- & $\mathbf{1.50}$ ($n=1$) & $-1.00 \pm 6.35$ & -- \\
digits & resnet8 & distilled & 1 & $\mathbf{97.50}$ & -- & -- & -- & -- & -- & -- \\
\bottomrule
\end{tabular}
"""  # noqa: E501

CSV = """\
dataset,model,construction,seeds,accuracy,accuracy_half,member_mean_accuracy,member_mean_accuracy_half,nll,nll_half,calibrated_nll,ece,ece_half,q_bar,q_bar_half,dee
digits,resnet8,deep,2,96.5,6.3531,94.5,6.3531,0.195,0.063531,,1.5,,-60.5,6.3531,
digits,resnet8,swe,2,95.5,0,94.5,6.3531,0.195,0.063531,,1.5,,-3.5,6.3531,
digits,resnet8,constrained,2,95.1,1.27062,94.5,6.3531,0.195,0.063531,,1.5,,-1,6.3531,
digits,resnet8,distilled,1,97.5,,,,,,,,,,,
"""


def test_main_table_word_for_word(small):
    sheet = main.build(small)
    assert sheet.markdown() == MARKDOWN
    assert sheet.latex() == LATEX
    assert sheet.csv() == CSV
    assert sheet.keys == ["deep0", "deep1", "swe0", "swe1", "constrained0", "constrained1", "one"]
    assert len({len(row) for row in csv.reader(sheet.csv().splitlines())}) == 1


def test_names_are_escaped_in_latex_and_equal_bests_are_all_bold(tmp_path):
    for name in ("swe", "my_construction"):
        write(tmp_path, "trials", name, [trial(name, name, test_accuracy=90.0, val_barrier_reset=0.0)])
    latex = main.build(read(tmp_path)).latex()
    assert r"my\_construction" in latex
    assert latex.count(r"$\mathbf{90.00}$") == 2


def test_each_setting_is_a_block_of_its_own(tmp_path):
    for model in ("resnet8", "vit"):
        write(tmp_path, "trials", model, [trial(model, "swe", model=model, test_accuracy=90.0, val_barrier_reset=0.0)])
    sheet = main.build(read(tmp_path))
    assert sheet.latex().count(r"\midrule") == 2
    assert sheet.latex().count(r"\mathbf") == 2


SUMMARY = """\
# demo: 9 finished trials (9 replicate)

## digits · resnet8, test split

- Not in one basin, or not known to be: swe (q̄ = −1.0 points), constrained (q̄ = −0.5 points), distilled (q̄ = −0.3 points) and deep (q̄ = −60.0 points).
- Swe against deep: not enough seeds (need 3 in common, have 2).
- Constrained is 1.00 points [0.75, 1.25] less accurate than deep, beyond the noise of 3 seeds.
- Distilled against deep: not enough seeds (need 3 in common, have 1).
- How much of the accuracy gap between constrained and deep distillation closes: not enough seeds (need 3, have 1).
- How much of the NLL gap between constrained and deep distillation closes: not enough seeds (need 3, have 0).

| construction | seeds | accuracy (%) | mean member (%) | NLL (nats) | q̄ (points)    |
|--------------|-------|--------------|-----------------|------------|---------------|
| deep         | 3     | 96.20 ± 0.66 | –               | –          | −60.00 ± 2.48 |
| constrained  | 3     | 95.20 ± 0.43 | –               | –          | −0.50 ± 0.00  |

Fewer than 3 seeds, not in the table: swe (2), distilled (1).

Connectivity q̄:

- constrained is higher than deep by 59.50 points [57.02, 61.98], 3 seeds
- distilled and constrained: too few seeds (1 in common: 0.20 points)
- distilled and deep: too few seeds (1 in common: 58.70 points)

Accuracy:

- constrained is lower than deep by 1.00 points [0.75, 1.25], 3 seeds
- distilled and constrained: too few seeds (1 in common: 1.10 points)
- distilled and deep: too few seeds (1 in common: 0.20 points)

NLL:

- constrained and deep: too few seeds (none in common)
- distilled and constrained: too few seeds (none in common)
- distilled and deep: too few seeds (none in common)

Differences are paired by seed, with 95 % Student-t intervals, each on its own (not corrected for their number). They are over test images too, by a paired bootstrap, where both trials keep their predictions (`--set predictions=true`); elsewhere other test images would move them further.
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
            row = trial(f"{name}{seed}", name, seed, test_accuracy=accuracy, test_q_bar_reset=q_bar)
            write(tmp_path / "demo", "trials", row["key"], [row])
    assert summary(read(tmp_path / "demo")) == SUMMARY


def test_summary_names_what_is_absent_and_takes_the_split(full_tables, tmp_path):
    write(tmp_path, "trials", "a", [trial("a")])
    assert "Not compared, for want of finished trials: constrained, distilled." in summary(read(tmp_path))
    validation = summary(replace(full_tables, split="val"))
    assert "digits · resnet8, val split" in validation
    assert validation != summary(full_tables)
