"""The glossary says of scores and hyperparameters what their definitions say."""

from sweeps.study.glossary import Glossary, defined_glossary
from sweeps.tracking.tags import GLOSSARY, LONGEST, read_glossary


def test_scores_have_their_directions() -> None:
    better = defined_glossary().better
    ways = {
        "accuracy": "higher",
        "nll": "lower",
        "q_bar_reset": "higher",
        "soup_ece": "lower",
        "temperature": "neither",
    }
    assert {name: better[name] for name in ways} == ways
    assert not {"size", "val_accuracy", "q_mid_reset"} & better.keys()
    assert [defined_glossary().sign(name) for name in ("accuracy", "nll", "temperature")] == [1, -1, 1]


def test_names_that_vary() -> None:
    params = [{"t": "0.1", "beta": "1", "lr": "1"}, {"t": "0.1", "beta": "2", "lr": "2", "weight": "1"}]
    assert defined_glossary().varying(params) == ["beta", "weight", "lr"]
    kinds = [{"constraint": "path"}, {"constraint": "star", "teacher": "own"}, {"teacher": "own"}]
    assert defined_glossary().varying(kinds) == ["constraint"]  # a choice that only some have does not differ


def test_a_missing_value_is_no_difference() -> None:
    params = [{"width": "1", "epochs": "2", "predictions": "True"}, {"width": "2", "predictions": "False"}]
    assert defined_glossary().differing(params) == ["width"]  # what only selects what is stored is left out
    assert "epochs" in defined_glossary().training
    assert "width" not in defined_glossary().training


def test_what_is_recorded_is_read_and_fits_a_tag_of_mlflow() -> None:
    text = defined_glossary().format()
    assert Glossary.parse(text) == defined_glossary()
    assert read_glossary({GLOSSARY: text}) == read_glossary({}) == defined_glossary()
    assert len(text) < 0.8 * LONGEST  # some metrics more fit too
