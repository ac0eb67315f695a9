"""Choose the configurations that a sweep reports, on validation scores alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from sweeps.search.feedback import mean_excesses
from sweeps.storage.roles import SEARCH_SEEDS
from sweeps.storage.store import Row
from sweeps.study.job import Changes
from sweeps.study.study import Study


@dataclass(frozen=True)
class Candidate:
    """A searched configuration: the rows of its search seeds."""

    study: Study
    rows: Sequence[Row]

    @property
    def construction(self) -> str:
        """Name of its construction."""
        return str(self.rows[0]["construction"])

    @property
    def point(self) -> Changes:
        """Its point of the space, without a seed."""
        return _point_of(self.study, self.rows[0])

    @property
    def excess(self) -> float:
        """Mean accuracy points beyond the margin of one basin; 0 or less is in one basin."""
        return list(mean_excesses(self.study, self.rows).values())[-1]

    @property
    def satisfies_others(self) -> bool:
        """Tell whether it satisfies the limits other than the basin constraint."""
        return all(excess <= 0 for excess in list(mean_excesses(self.study, self.rows).values())[:-1])

    @property
    def merits(self) -> tuple[float, ...]:
        """Its objectives, more is better; one that is missing or not finite is worse than any."""
        means = [self._mean_score(name) for name in self.study.objectives]
        merits = self.study.oriented_merits(means)
        return tuple(merit if math.isfinite(merit) else -math.inf for merit in merits)

    def _mean_score(self, name: str) -> float:
        values = [float(row[name]) for row in self.rows if row.get(name) is not None]
        return fmean(values) if values else math.nan


def choose_configurations(study: Study, rows: Sequence[Row]) -> list[Candidate]:
    """Choose one configuration of each searched construction.

    Candidates are those that satisfy the other limits (all, if none does). Of those in one basin the best by the first
    objective is chosen; if none is in one basin, the closest to the margin. All values are means over the search seeds.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row["role"] in SEARCH_SEEDS and row["status"] == "done":
            groups.setdefault(study.resolve_trial(_point_of(study, row)).key, []).append(row)
    searched = [Candidate(study, group) for group in groups.values() if any(row["role"] == "search" for row in group)]
    chosen = []
    for construction in study.space.constructions:
        candidates = [candidate for candidate in searched if candidate.construction == construction]
        if candidates:
            chosen.append(_best_candidate(candidates))
    return chosen


def _point_of(study: Study, row: Row) -> Changes:
    name = row["construction"]
    return {"construction": name, **{field.name: row[field.name] for field in study.space.fields(name)}}


def _best_candidate(candidates: Sequence[Candidate]) -> Candidate:
    admissible = [candidate for candidate in candidates if candidate.satisfies_others] or candidates
    inside = [candidate for candidate in admissible if candidate.excess <= 0]
    if inside:
        return max(inside, key=lambda one: (one.merits, str(one.rows[0]["key"])))
    return min(admissible, key=lambda one: (one.excess, [-merit for merit in one.merits], str(one.rows[0]["key"])))


def describe_violation(chosen: Candidate) -> str | None:
    """Describe which limit no configuration of a construction satisfies, and what runs on fresh seeds instead."""
    name, margin = chosen.construction, chosen.study.margin
    if chosen.excess > 0:
        return (
            f"{name}: no searched configuration is shown to be in one basin (margin {margin:g} points); "
            f"the closest, {chosen.excess:.1f} points beyond the margin, runs on fresh seeds"
        )
    if not chosen.satisfies_others:
        limits = ", ".join(map(str, chosen.study.constraints))
        return f"{name}: no searched configuration satisfies {limits}; the best in one basin runs on fresh seeds"
    return None
