"""Write docs/results.md and its pictures from the published sweeps: the answer, ten questions, costs, reproduction.

The page says nothing about when or where it was written: the same results give the same bytes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.answers.differences import paired_difference
from analysis.answers.headline import accuracy_sentence, midpoint_sentence, worth_sentence
from analysis.answers.words import counted, enough_seeds, in_words, join_names
from analysis.constructions import REFERENCE, label, order
from analysis.data.configurations import is_finished
from analysis.data.queries import Configuration, Tables
from analysis.figures import paths
from analysis.output import style
from analysis.output.sheet import Cell, Column, Sheet
from analysis.published.pictures import Picture, draw_pictures
from analysis.published.questions import QUESTIONS, Question
from analysis.published.questions.case_tables import count_sides, gap_to_deep
from analysis.published.spending import spending_table
from analysis.published.sweeps import HEADLINE, Case, Sweep, hyperparameter_words, list_cases, opened_sweeps
from analysis.tables.main import HEADLINE_WHAT, headline_sheet

ANSWER = "The answer"
"""Title of the part that comes first."""
PICTURE = "results/headline.png"
"""Figure of the answer, relative to the page."""
START, END = "<!-- results: begin -->", "<!-- results: end -->"
"""Markers around the block that a README quotes from the page."""
LETTERS = "abcdefghij"
README_METRICS = ("accuracy", "member_mean_accuracy", "soup_accuracy")
"""Metrics of the table that a README shows."""
COMPARED = ("constrained", "distilled")
"""Constructions that the answer compares with deep ensembles."""
NO_HEADLINE = "Not measured yet: the sweep `headline` is not published."
INTRODUCTION = """# Results

How good is a single basin? `make results` writes this page from the sweeps in
[`results/published/`](publishing.md), and from nothing else. The numbers are of the test split. Intervals have 95 %
confidence: over seeds and test images for means over images, over seeds (Student's t) for barriers.

Networks and training sets are small, so that two processor cores suffice. Elsewhere the answer may differ, as on the
digits of the [tutorial](tutorial.md)."""
CAVEAT = """Of several configurations of a construction, a row has the one that was run on fresh seeds, else the one
with most seeds; validation breaks ties. Tables of a grid list all. Differences are paired by seed and image, without
correction for the number of questions. *Not measurably different*: the interval holds 0; it says what is excluded, not
that two are equal. `python -m analysis power` says how many seeds would show a difference of a given size.

A case is a dataset, model and recipe; of sweeps with the same deep ensembles, the one with most constructions counts.
*t*: share of the training that branches have in common; *β*: strength of the constraint; *τ*, *λ*: temperature and
weight of distillation; *K*: members. *Chord*: the mixture of the scores of a path's ends; *q̄*: mean of accuracy less
chord on the paths, in points; *barrier*: the largest fall below the chord. *One basin*: the average path is shown to
lose less than a margin against the chord, by accuracy or by loss ([definitions](definitions.md))."""


def write_page(published: Path, docs: Path) -> list[Path]:
    """Write the page and its pictures into the folder of the documents; return the files written.

    Raises BadInput for a damaged sweep.
    """
    with opened_sweeps(published) as sweeps, style.house_style():
        pictures = _all_pictures(sweeps)
        file = docs / "results.md"
        file.write_text(_compose_page(sweeps, pictures), encoding="utf-8")
        return [file, *(picture.save(docs) for some in pictures.values() for picture in some)]


def page_text(sweeps: Sequence[Sweep]) -> str:
    """Return the page in Markdown."""
    with style.house_style():
        return _compose_page(sweeps, _all_pictures(sweeps))


def _all_pictures(sweeps: Sequence[Sweep]) -> dict[str, list[Picture]]:
    """Draw the picture of the answer and those of the questions; return them by title of their question."""
    return {ANSWER: _headline_picture(sweeps), **{q.title: draw_pictures(q.figures, sweeps) for q in QUESTIONS}}


def _compose_page(sweeps: Sequence[Sweep], pictures: Mapping[str, Sequence[Picture]]) -> str:
    parts = [INTRODUCTION, f"## {ANSWER}", *(picture.markdown() for picture in pictures[ANSWER])]
    parts += [_answer_text(sweeps), CAVEAT]
    for letter, question in zip(LETTERS, QUESTIONS, strict=True):
        parts += [f"## ({letter}) {question.title}", *_question_text(question, sweeps)]
        parts += [picture.markdown() for picture in pictures[question.title]]
    parts += ["## Every construction", _constructions_text(sweeps), "## Sweeps", _sweeps_text(sweeps)]
    parts += ["## What it cost", _cost_text(sweeps), "## Reproduce", _reproduction_text(sweeps)]
    return "\n\n".join(parts) + "\n"


def headline_case(sweeps: Sequence[Sweep]) -> Case | None:
    """Return the dataset and model of the headline with most trials; None if it is not published."""
    cases = [case for case in list_cases(sweeps) if case.sweep.name == HEADLINE]
    return max(cases, key=lambda case: sum(len(c.rows) for c in case.chosen.values()), default=None)


def headline_sentences(case: Case) -> list[str]:
    """Return what holds halfway between members, then how constrained and distilled compare with deep ensembles."""
    deep = case.chosen.get(REFERENCE)
    sentences = [midpoint_sentence(case.tables, case.chosen)]
    if deep:
        sentences += [
            _quality_sentences(case.tables, case.chosen[name], deep) for name in COMPARED if name in case.chosen
        ]
    return [sentence for sentence in sentences if sentence]


def count_sentences(sweeps: Sequence[Sweep]) -> list[str]:
    """Count over all cases how constrained and distilled compare with deep ensembles; nothing for a single case."""
    counts, settings = [], set()
    for name in COMPARED:
        cases = [case for case in list_cases(sweeps) if {name, REFERENCE} <= case.chosen.keys()]
        if len(cases) > 1:
            settings |= {case.setting for case in cases}
            gaps = [gap_to_deep(case, case.chosen[name], "accuracy") for case in cases]
            counts.append(count_sides(name, gaps, "higher"))
    datasets, models = ({setting[place] for setting in settings} for place in (0, 1))
    scope = f"{counted(len(datasets), 'dataset')}, {counted(len(models), 'model')} and their recipes"
    return [f"Accuracy vs. deep, over {scope}, each at its own β and t: {'; '.join(counts)}."] if counts else []


def _quality_sentences(tables: Tables, mine: Configuration, deep: Configuration) -> str:
    """Compare accuracy and NLL with the deep ensemble; then say how many deep members an ensemble is worth."""
    sentences, gap = [accuracy_sentence(tables, mine, deep)], paired_difference(tables, mine, deep, "nll")
    if enough_seeds(gap):
        sentences.append(f"{in_words(f'By NLL, {label(mine.construction)}', 'deep', gap, 'nats', 3, 'lower')}.")
    return " ".join(part for part in [*sentences, worth_sentence(tables, mine)] if part)


def readme_block(sweeps: Sequence[Sweep]) -> str:
    """Return the lines that a README shows between `START` and `END`."""
    case = headline_case(sweeps)
    if case is None:
        return NO_HEADLINE
    lines = [f"- {sentence}" for sentence in [*headline_sentences(case), *count_sentences(sweeps)]]
    table = headline_sheet(case.tables, case.chosen, README_METRICS).pipe_table()
    note = f"{case.where}, {case.recipe}; ± half of the 95 % interval; DEE: deep members that it is worth"
    return "\n".join([*lines, "", table, "", f"({note}; [results](docs/results.md).)"])


def quoted_block(readme: str) -> str | None:
    """Return what a README has between the markers; None without them."""
    if START not in readme or END not in readme:
        return None
    return readme.partition(START)[2].partition(END)[0].strip()


def _answer_text(sweeps: Sequence[Sweep]) -> str:
    case = headline_case(sweeps)
    if case is None:
        return NO_HEADLINE
    return "\n".join(f"- {sentence}" for sentence in [*headline_sentences(case), *count_sentences(sweeps)])


def _constructions_text(sweeps: Sequence[Sweep]) -> str:
    """Return a table for each dataset and model, with the hyperparameters of its constructions."""
    parts = []
    for case in list_cases(sweeps):
        if not case.chosen.keys() - {REFERENCE}:
            continue
        places = {name: hyperparameter_words(case.chosen[name]) for name in order(case.chosen)}
        where = "; ".join(f"{name}: {words}" for name, words in places.items() if words)
        table = headline_sheet(case.tables, case.chosen).pipe_table()
        paths_words = f"paths: {case.measured}" if case.measured else ""
        facts = "; ".join(part for part in (case.recipe, where, paths_words) if part)
        parts.append(f"{case.words}; {facts}:\n\n{table}")
    return "\n\n".join([*parts, HEADLINE_WHAT]) if parts else "Nothing yet."


def _headline_picture(sweeps: Sequence[Sweep]) -> list[Picture]:
    """Draw accuracy along the paths of the headline; nothing where there are none."""
    case = headline_case(sweeps)
    if case is None or not paths.curves_by_setting(case.tables).get(case.setting):
        return []
    caption = f"Accuracy on the line between two members, and its excess over the chord ({case.where})"
    return [Picture(PICTURE, caption, paths.draw(case.tables).figure, paths.WHAT)]


def _question_text(question: Question, sweeps: Sequence[Sweep]) -> list[str]:
    return question.answer(sweeps) or [f"Not measured yet: it needs {question.needs}."]


def _sweeps_text(sweeps: Sequence[Sweep]) -> str:
    if not sweeps:
        return "No sweep is published yet."
    names = ("sweep", "about", "trials", "reported seeds", "machine", "last trial", "commits")
    rows = [[Cell(text) for text in _sweep_facts(sweep)] for sweep in sweeps]
    note = (
        "trials: finished ones; a sweep may be continued. Reported seeds: of references, grids and fresh seeds; "
        "searched trials have none. The commits are those of the code that ran them; *with changes*: not all of it "
        "was committed."
    )
    facts = {dataset: words for sweep in sweeps for dataset, words in sweep.notes.items() if _shows(sweep, dataset)}
    note += "".join(f"\n\n{dataset}: {words}" for dataset, words in facts.items())
    return Sheet([Column(name, name, name) for name in names], [rows], note, []).markdown().rstrip()


def _shows(sweep: Sweep, dataset: str) -> bool:
    return any(shown == dataset for shown, _ in sweep.tables.settings)


def _sweep_facts(sweep: Sweep) -> list[str]:
    rows = sweep.tables.rows
    finished = [row for row in rows if is_finished(row)]
    lost = f" ({len(rows) - len(finished)} diverged or stopped)" if len(rows) > len(finished) else ""
    seeds = max((len(c.rows) for case in list_cases([sweep]) for c in case.chosen.values()), default=0)
    dates = sorted(f"{row['finished_at']:%Y-%m-%d}" for row in rows if row.get("finished_at"))
    when = "–" if not dates else dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    machines, commits = (
        sorted({str(row[name]) for row in rows if row.get(name)}) for name in ("device_name", "commit")
    )
    changed = {str(row["commit"]) for row in rows if str(row.get("dirty")).lower() == "true"}
    short = ", ".join(f"`{commit[:8]}`{' with changes' if commit in changed else ''}" for commit in commits)
    facts = [sweep.name, sweep.summary or "–", f"{len(finished)}{lost}", str(seeds)]
    return [*facts, join_names(machines) or "–", when, short or "–"]


def _cost_text(sweeps: Sequence[Sweep]) -> str:
    return spending_table(sweeps) if sweeps else "Nothing yet."


def _reproduction_text(sweeps: Sequence[Sweep]) -> str:
    name, key = HEADLINE, "KEY"
    if case := headline_case(sweeps) or next(iter(list_cases(sweeps)), None):
        name, key = case.sweep.name, next(iter(case.chosen.values())).keys[0]
    return "\n".join(
        [
            "```sh",
            "make results  # write this page again",
            f"python -m analysis restore {name}  # into results/{name}, for every command of launch.py",
            f"python launch.py show {key}  # one trial",
            f"python launch.py rerun {key} --data PATH  # the same trial again, compared number by number",
            "# run what is missing:",
            f"python launch.py sweep results/published/{name}/study.toml --name {name} --data PATH",
            "```",
            "",
            "`rerun` compares every number bit for bit on the same kind of machine. PATH: the images, with the hash of "
            "the column `data_hash` ([data](data.md)); other copies of a dataset have another, and other numbers.",
        ]
    )
