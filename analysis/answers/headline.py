"""Answer the headline questions in sentences that claim no more than their intervals allow."""

from analysis.answers.differences import paired_difference, share_closed
from analysis.answers.judgements import verdict_sentences
from analysis.answers.midpoints import Midpoint, midpoint_accuracy
from analysis.answers.words import enough_seeds, interval_ends, join_names, sample_size, signed, too_few, unknown_noise
from analysis.answers.worth import confidence_words, deep_equivalent, spell_out
from analysis.constructions import REFERENCE, capitalised, connected, facts, label
from analysis.data.queries import Configuration, Setting, Tables, best_by_construction, estimate_metric, searched_seeds
from stats.intervals import Estimate

METRICS = {"accuracy": ("accuracy gap", 1), "nll": ("NLL gap", -1)}
"""Metric → name of its gap, and 1 if higher is better, −1 if lower."""


def answer_questions(tables: Tables) -> dict[Setting, list[str]]:
    """Answer each question per (dataset, model) with the strongest sentence that the data allow.

    What is certain and short comes first: the report folds all but the first sentences.
    """
    by_setting = {}
    for setting, by_name in best_by_construction(tables).items():
        linked = [by_name[name] for name in sorted(connected(by_name), key=lambda name: facts(name).lead)]
        deep = by_name.get(REFERENCE)
        lines = [midpoint_sentence(tables, by_name)]
        if deep:
            lines += [accuracy_sentence(tables, c, deep) for c in linked]
            lines += [closed_sentence(tables, by_name, metric) for metric in METRICS]
        lines += [verdict_sentences(tables, c) for c in [*linked, *([deep] if deep else [])]]
        if deep:
            lines += [decomposition_sentence(tables, c, deep) for c in linked]
        lines += [soup_sentence(tables, c) for c in linked]
        lines += [worth_sentence(tables, c) for c in linked]
        first, *others = [line for line in lines if line] or [""]
        by_setting[setting] = [line for line in (first, _seeds_sentence(list(by_name.values())), *others) if line]
    return by_setting


def midpoint_sentence(tables: Tables, by_name: dict[str, Configuration]) -> str:
    """State the accuracy halfway between independent networks, and between members of each connected ensemble."""
    chosen = [*connected(by_name), *({REFERENCE} & by_name.keys())]
    midpoints = {name: at for name in chosen if (at := midpoint_accuracy(tables, by_name[name]))}
    if not midpoints:
        return ""
    parts = []
    if REFERENCE in midpoints:
        parts.append(f"between two independent networks accuracy {_midpoint_words(midpoints[REFERENCE])}")
    for falls in (False, True):
        names = [name for name in midpoints if name != REFERENCE and midpoints[name].falls == falls]
        names.sort(key=lambda name: facts(name).lead)
        if names:
            first, *others = names
            subject = "it" if parts else "accuracy"
            also = ", ".join(f"{label(name)} {midpoints[name].middle.mean:.0f} %" for name in others)
            words = f"between members of the {label(first)} ensemble {subject} {_midpoint_words(midpoints[first])}"
            parts.append(words + (f" ({also})" if also else ""))
    ends = sorted(at.ends.mean for at in midpoints.values())
    whole = f"{ends[0]:.0f}" if f"{ends[0]:.0f}" == f"{ends[-1]:.0f}" else f"{ends[0]:.0f} to {ends[-1]:.0f}"
    return f"Halfway {', '.join(parts)} (the ends of these paths reach {whole} %)."


def _midpoint_words(at: Midpoint) -> str:
    return f"{'falls to' if at.falls else 'stays at'} {at.middle.mean:.0f} %"


def accuracy_sentence(tables: Tables, configuration: Configuration, deep: Configuration) -> str:
    """State the difference in accuracy to the deep ensemble."""
    gap, name = paired_difference(tables, configuration, deep, "accuracy"), capitalised(configuration.construction)
    if gap is None or not enough_seeds(gap) or gap.half is None:
        return f"{name} vs. deep: {too_few(gap)}."
    if unknown_noise(gap):
        size = "the same accuracy" if gap.mean == 0 else f"{signed(gap.mean, 2)} points of accuracy"
        return f"{name} vs. deep: {size} for each of {gap.n} seeds."
    low, high = gap.mean - gap.half, gap.mean + gap.half
    if low <= 0 <= high:
        return (
            f"{name} vs. deep: no measurable difference in accuracy, {signed(gap.mean, 2)} points "
            f"(95 % CI {interval_ends(low, high, 2)}, {sample_size(gap)})."
        )
    near, far = sorted((abs(low), abs(high)))
    return (
        f"{name} ensembles are {abs(gap.mean):.2f} points {'less' if high < 0 else 'more'} accurate than the deep "
        f"ensemble (95 % CI {near:.2f} to {far:.2f}, {sample_size(gap)})."
    )


def closed_sentence(tables: Tables, by_name: dict[str, Configuration], metric: str) -> str:
    """State the share of the gap between constrained and deep ensembles that distillation closes."""
    if "constrained" not in by_name or "distilled" not in by_name:
        return ""
    name, better = METRICS[metric]
    words = f"the {name} between constrained and deep"
    start, part, end = (by_name[name] for name in ("constrained", "distilled", REFERENCE))
    share, gap = share_closed(tables, low=start, between=part, high=end, metric=metric), None
    if enough_seeds(share):
        gap = paired_difference(tables, end, start, metric)
    if share is None or gap is None or gap.half is None:
        return f"Share of {words} that distillation closes: {too_few(share)}."
    if share.interval is None or share.value is None or abs(gap.mean) <= gap.half:
        return f"There is no measurable gap to close: {words} is within the noise ({sample_size(gap)})."
    if better * gap.mean < 0:
        return f"There is no gap to close: by {name.split()[0]} constrained is better than deep ({sample_size(gap)})."
    ends = f"(95 % CI {interval_ends(100 * share.interval[0], 100 * share.interval[1], 0)} %, {sample_size(share)})"
    if share.interval[1] < 0:
        return f"Distillation widens {words} by {-100 * share.value:.0f} % of it {ends}."
    return f"Distillation closes {signed(100 * share.value, 0)} % of {words} {ends}."


def decomposition_sentence(tables: Tables, configuration: Configuration, deep: Configuration) -> str:
    """Split the NLL gap to the deep ensemble into the members' quality and their diversity."""
    if REFERENCE not in facts(configuration.construction).compared_with:
        return ""
    metrics = ("member_mean_nll", "jensen_gap")
    members, buys = (paired_difference(tables, configuration, deep, metric) for metric in metrics)
    if members is None or buys is None or not (enough_seeds(members) and enough_seeds(buys)):
        return ""
    return (
        f"{capitalised(configuration.construction)} vs. deep: members are {_nats_words(members, 'worse', 'better')}; "
        f"diversity contributes {_nats_words(buys, 'more', 'less')}."
    )


def _nats_words(gap: Estimate, above: str, below: str) -> str:
    noise = gap.half is None or abs(gap.mean) <= gap.half
    return f"{abs(gap.mean):.3f} nats {above if gap.mean > 0 else below}" + (" (within the noise)" if noise else "")


def soup_sentence(tables: Tables, configuration: Configuration) -> str:
    """Compare the centroid, as one network, with the mean member and with the ensemble.

    Both differences are stated with their intervals; with fewer than three seeds neither is.
    """
    soup = estimate_metric(tables, configuration, "soup_accuracy")
    members = configuration.hyperparameters.get("members")
    if soup is None or not members or members < 2:
        return ""
    name = label(configuration.construction)
    start = f"The soup of the {name} ensemble (one network, 1/{members} of the inference cost) reaches "
    differences = []
    for other, than in (("member_mean_accuracy", "than the mean member"), ("accuracy", "than the ensemble")):
        gap = paired_difference(tables, configuration, configuration, "soup_accuracy", other)
        if gap is not None and enough_seeds(gap):
            differences.append((gap, _points_words(gap, than)))
    if not differences:
        return f"{start}{soup.mean:.1f} %."
    words = " and ".join(text for _, text in differences)
    return f"{start}{soup.mean:.1f} %: {words}, over {sample_size(differences[0][0])}."


def _points_words(gap: Estimate, than: str) -> str:
    """State a difference in accuracy: `1.50 points more accurate than the mean member (95 % CI 1.20 to 1.80)`.

    The caller ensures that there are at least three seeds in common (decision 8).
    """
    if gap.half is None or unknown_noise(gap):
        way = "more" if gap.mean > 0 else "less"
        return f"{abs(gap.mean):.2f} points {way} accurate {than} for each seed"
    low, high = gap.mean - gap.half, gap.mean + gap.half
    if low <= 0 <= high:
        than = than.replace("than", "from")
        return f"not measurably different {than} ({signed(gap.mean, 2)} points, 95 % CI {interval_ends(low, high, 2)})"
    near, far = sorted((abs(low), abs(high)))
    way = "more" if low > 0 else "less"
    return f"{abs(gap.mean):.2f} points {way} accurate {than} (95 % CI {near:.2f} to {far:.2f})"


def worth_sentence(tables: Tables, configuration: Configuration) -> str:
    """State the deep-ensemble equivalent with its interval."""
    equivalent, members = deep_equivalent(tables, configuration), configuration.hyperparameters.get("members", "its")
    if equivalent is None:
        return ""
    name, size = label(configuration.construction), spell_out(equivalent)
    text = f"By calibrated log-likelihood the {name} ensemble of {members} members is worth {size}"
    noise = f": {ends}" if (ends := confidence_words(equivalent)) else ""
    return f"{text}{noise}."


def _seeds_sentence(chosen: list[Configuration]) -> str:
    """Warn of configurations that are reported on the seeds that selected them."""
    names = [label(configuration.construction) for configuration in chosen if searched_seeds(configuration)]
    if not names:
        return ""
    return f"Reported on the seeds of the search, and therefore optimistic (no fresh seeds yet): {join_names(names)}."
