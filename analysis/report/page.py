"""Markup of the page, from the templates beside this file. Values are escaped unless they are markup already."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from analysis.output.sheet import Sheet
from analysis.verify import Verdict

POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:"
"""The browser blocks every request; Vega compiles its expressions, hence unsafe-eval."""
NOTHING = Markup("<p>Nothing.</p>")
KEYS = "Chart of trials, also listed below. Arrow keys move through them along the x axis, Enter opens one."
SCRIPTS = ("base", "chart", "parallel", "list", "trial", "plane", "surface", "start")
"""Scripts of the page, in one scope, in this order."""


def render(template: str, **values: Any) -> Markup:
    """Fill a template of the report."""
    return Markup(_environment().get_template(template).render(values))


@cache
def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(str(files("analysis.report") / "templates"))
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)


def whole_page(title: str, sections: Mapping[str, Markup], state: str) -> str:
    """Return the page; `state` is the JSON that its script reads."""
    assets = files("analysis.report")
    own = [(assets / "script" / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    vega = (assets / "vega/bundle.js").read_text(encoding="utf-8")
    scripts = [vega, "\n".join(['"use strict";', *own])]
    page = render(
        "page.html",
        title=title,
        sections=sections,
        nothing=NOTHING,
        policy=POLICY,
        style=(assets / "report.css").read_text(encoding="utf-8"),
        state=state.replace("<", "\\u003c"),
        scripts=[_safe_script(script) for script in scripts],
    )
    return f"{page}\n"


def explorer_section(constructions: Sequence[str], *, held: int, out: int) -> Markup:
    """Return the filters, the chart, the list of trials and the element in which a trial's details open."""
    words = f"{held:,} trials with their details."
    if out:
        words += (
            f" {out:,} more are only counted in the shaded cells (or have no connectivity): the page contains the "
            "validation fronts, all references, replicates and grids, and every n-th of the other trials."
        )
    return render("explorer.html", words=words, constructions=constructions, keys=KEYS)


def planes_section(planes: Mapping[str, Any], side: int) -> Markup:
    """Return the elements in which the page draws its planes, at most two side by side; nothing if there is none."""
    words = ("Plane",) if len(planes["shown"]) == 1 else ("Left plane", "Right plane")
    thinned = any(plane["every"] > 1 for plane in planes["planes"])
    values = {"words": words, "side": side, "thinned": thinned, "left_out": planes["left_out"]}
    return render("planes.html", **values) if planes["shown"] else Markup("")


def missing_table(missing: Sequence[Any]) -> Markup:
    """List what is not in the page, each with what is missing and the commands that add it; nothing if all is there."""
    images = any("PATH" in command for made in missing for command in made.commands)
    return render("missing.html", missing=missing, images=images) if missing else Markup("")


def sheet_table(sheet: Sheet) -> Markup:
    """Return a table, each of its blocks a body of its own."""
    return render("sheet.html", columns=sheet.columns, blocks=sheet.blocks, note=sheet.note)


def yardstick_table(verdicts: Sequence[Verdict], unknown: Sequence[str]) -> Markup:
    """Return the comparison with published results; `unknown` are datasets without any."""
    return render("yardsticks.html", verdicts=verdicts, unknown=unknown)


def _safe_script(text: str) -> str:
    """Return the script with nothing in it that ends its element."""
    return text.replace("</script", "<\\/script")
