"""The page of results: ten questions, from published sweeps alone, the same text every time."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from analysis.__main__ import main
from analysis.answers.differences import paired_difference
from analysis.answers.worth import deep_equivalent, in_text
from analysis.data.queries import best_by_construction
from analysis.errors import BadInput
from analysis.published.command import run
from analysis.published.page import END, START, count_sentences, page_text, quoted_block, readme_block, write_page
from analysis.published.pictures import draw_pictures
from analysis.published.questions import QUESTIONS, trunk
from analysis.published.sweeps import list_cases, opened_sweeps
from tests.support.published_sweep import sweep_of

TEN = 10


@pytest.fixture(scope="module")
def page(published, tmp_path_factory) -> str:
    docs = tmp_path_factory.mktemp("docs")
    assert write_page(published, docs) == [docs / "results.md", docs / "results/headline.png"]
    return (docs / "results.md").read_text(encoding="utf-8")


def section(page: str, title: str) -> str:
    return page.partition(f") {title}\n")[2].partition("\n## ")[0]


def of_question(page: str, number: int) -> str:
    return section(page, QUESTIONS[number].title)


def test_the_committed_page_is_that_of_the_committed_sweeps(root):
    """After a sweep is published, `make results` is due."""
    with opened_sweeps(root / "results/published") as sweeps:
        assert (root / "docs/results.md").read_text(encoding="utf-8") == page_text(sweeps)
        quoted = quoted_block((root / "README.md").read_text(encoding="utf-8"))
        assert quoted is None or quoted == readme_block(sweeps).strip()


def test_a_readme_may_quote_the_answer(published):
    with opened_sweeps(published) as sweeps:
        block = readme_block(sweeps)
    assert quoted_block(f"before\n{START}\n{block}\n{END}\nafter") == block
    assert quoted_block("# No markers") is None
    assert block.count("\n- ") == 2
    assert run(["results", "--readme", "--published", str(published)]) == f"{START}\n{block}\n{END}"


def test_without_sweeps_it_says_what_will_be_measured():
    page = page_text([])
    assert len(QUESTIONS) == TEN
    for number, question in enumerate(QUESTIONS):
        assert of_question(page, number).strip() == f"Not measured yet: it needs {question.needs}."
    assert "Not measured yet: the sweep `headline` is not published." in page
    assert not any(character.isdigit() for character in section(page, QUESTIONS[0].title))


def test_the_same_sweeps_give_the_same_page(published, page):
    with opened_sweeps(published) as sweeps:
        assert page_text(sweeps) == page


def test_the_answer_comes_first_and_only_from_the_headline(published, page, tmp_path):
    answer = page.partition("## The answer\n")[2].partition("\n## ")[0]
    assert "results/headline.png" in answer
    assert "Halfway between two independent networks accuracy falls to" in answer
    other = shutil.copytree(published / "headline", tmp_path / "published/sideline").parent
    write_page(other, tmp_path)
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "the sweep `headline` is not published" in text
    assert of_question(text, 0) == of_question(page, 0).replace("headline", "sideline")


def test_numbers_are_those_of_the_answers(published, page):
    """Cost, parts of the gap, soup and equivalent, from the functions that the report uses."""
    with opened_sweeps(published) as (sweep,):
        chosen = best_by_construction(sweep.tables)["digits", "resnet8"]
        gap = paired_difference(sweep.tables, chosen["constrained"], chosen["deep"], "accuracy")
        members = paired_difference(sweep.tables, chosen["constrained"], chosen["deep"], "member_mean_nll")
        soup = paired_difference(sweep.tables, chosen["constrained"], chosen["constrained"], "soup_nll", "nll")
        worth = deep_equivalent(sweep.tables, chosen["distilled"])
    assert gap.format(2) in of_question(page, 0)
    assert members.format(3) in of_question(page, 5)
    assert soup.format(3) in of_question(page, 7)
    assert in_text(worth) in of_question(page, 8)


def test_the_table_of_constructions_has_means_over_seeds_and_hyperparameters(published, page):
    with opened_sweeps(published) as sweeps:
        (case,) = list_cases(sweeps)
        rows = {name: c.rows for name, c in case.chosen.items()}
        block = readme_block(sweeps)
    table = page.partition("## Every construction\n")[2].partition("\n## ")[0]
    (heading,) = [line for line in table.splitlines() if line.startswith("**headline**")]
    for text in (table, block):
        lines = [line for line in text.splitlines() if line.startswith("| ") and "construction" not in line]
        cells = {name: rest for name, *rest in ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)}
        assert cells.keys() == rows.keys()
        for name, trials in rows.items():
            mean = np.mean([row["test_accuracy"] for row in trials])
            assert cells[name][0] == str(len(trials))
            assert cells[name][1].startswith(f"{mean:.2f} ±")
    assert rows["constrained"][0]["train_size"] is None
    assert f"all training images, {rows['constrained'][0]['epochs']} epochs, K = 4" in heading
    beta = rows["constrained"][0]["beta"]
    assert f"constrained: β = {beta:.3g}" in heading
    assert "deep:" not in heading


def test_permutations_name_what_they_were_aligned_by(published, page):
    with opened_sweeps(published) as (sweep,):
        (matching,) = {row["matching"] for row in sweep.tables.rows if row["construction"] == "permuted"}
    line = next(line for line in of_question(page, 2).splitlines() if line.startswith("| headline"))
    assert f"| {matching} " in line


def test_what_was_not_measured_is_said_with_what_it_needs(page):
    assert "it needs sweeps with" in of_question(page, 4)  # a single model


def test_facts_of_the_runs_come_from_the_rows(page):
    facts = page.partition("## Sweeps\n")[2].partition("\n## ")[0]
    assert "Every construction, three seeds" in facts
    assert "`c0ffee`" in facts
    assert "| headline" in facts


def test_commands_answer_a_mistake_in_a_line(sweep, tmp_path, refused_analysis):
    assert "no published sweep" in refused_analysis("restore", "--published", str(tmp_path))
    assert "--study" in refused_analysis("publish", str(sweep), "--to", str(tmp_path / "out"))


@pytest.fixture
def refused_analysis(capsys):
    def refuse(*arguments: str) -> str:
        assert main(arguments) == 2
        return capsys.readouterr().err

    return refuse


def test_publish_and_restore_from_the_command_line(sweep, tmp_path, capsys):
    study, out = tmp_path / "study.toml", tmp_path / "out"
    study.write_text('summary = "x"\n')
    assert main(["publish", str(sweep), "--study", str(study), "--to", str(out)]) == 0
    assert "18 trials, written" in capsys.readouterr().out
    assert main(["publish", str(sweep), "--to", str(out)]) == 0
    assert "18 trials, unchanged" in capsys.readouterr().out
    assert main(["restore", "--published", str(out), "--storage", str(tmp_path / "results")]) == 0
    assert "18 trials restored" in capsys.readouterr().out
    assert main(["power", str(tmp_path / "results/headline"), "--difference", "1"]) == 0
    assert "constrained − deep" in capsys.readouterr().out
    assert Path(tmp_path / "results/headline/tables/trials/da7a-50-r-deep-0.parquet").exists()


def test_datasets_have_the_names_that_a_file_gives_to_their_images(published, tmp_path):
    folder = shutil.copytree(published, tmp_path / "published")
    with opened_sweeps(folder) as sweeps:
        (before,) = {case.where for case in list_cases(sweeps)}
    notes = '[notes]\n"Ten things, a copy" = "with stains."\n"Others" = "unseen."\n'
    (folder / "datasets.toml").write_text(f'da7a = "Ten things, a copy"\nbeef = "Others"\n{notes}')
    with opened_sweeps(folder) as sweeps:
        (after,) = {case.where for case in list_cases(sweeps)}
        assert f"({after})" in list_cases(sweeps)[0].words
        page = page_text(sweeps)
        assert after in page
        assert "Ten things, a copy: with stains." in page
        assert "unseen" not in page
    dataset, _, model = before.partition(", ")
    assert dataset
    assert after == f"Ten things, a copy, {model}"
    with opened_sweeps(folder) as sweeps:
        assert sweeps[0].tables.settings == [("Ten things, a copy", model)]  # so tables and figures say it too


def test_a_damaged_file_of_names_is_named(published, tmp_path):
    folder = shutil.copytree(published, tmp_path / "published")
    (folder / "datasets.toml").write_text("da7a = \n")
    with pytest.raises(BadInput, match=r"datasets\.toml"), opened_sweeps(folder):
        pass


def test_a_question_shows_the_figures_whose_data_are_published(tmp_path):
    """Branches of four t at two strengths make one of the two figures of question (d)."""
    points = [("deep", {})] + [("constrained", {"t": t, "beta": b}) for t in (0.0, 0.1, 0.2, 0.4) for b in (0.0, 1.0)]
    sweep = sweep_of(tmp_path, points, details=False)
    pictures = draw_pictures(trunk.FIGURES, [sweep])
    assert [picture.file for picture in pictures] == ["results/time-parameter.png"]
    assert "(results/time-parameter.png)" in of_question(page_text([sweep]), 3)
    assert pictures[0].save(tmp_path).read_bytes().startswith(b"\x89PNG")


def test_the_answer_counts_over_all_cases(tmp_path):
    """One model loses six points, the other as much as its noise. A single case is not counted."""
    sweeps = []
    for name, loss in (("a", {}), ("b", {"test_accuracy": 90.4})):
        points = [("deep", {}), ("constrained", loss)]
        sweeps.append(sweep_of(tmp_path / name, points, name=name, model=f"net {name}", details=False))
    assert count_sentences(sweeps[:1]) == []
    (sentence,) = count_sentences(sweeps)
    assert sentence.endswith(": constrained: worse in 1 and not measurably different in 1 of 2 cases.")
