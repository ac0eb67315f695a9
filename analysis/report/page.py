"""The page's markup; style and behaviour lie beside it as files of their own."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

import vl_convert

from analysis.verify import Verdict

POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:"
"""Nothing is fetched, and a browser sees to it; Vega compiles its expressions, hence unsafe-eval."""
BUNDLE = "window.vegaEmbed = vegaEmbed;"

KEYS = "Chart of trials: arrow keys go from one to the next by connectivity, Enter opens it. All are listed below."


def document(title: str, sections: Mapping[str, str], state: str) -> str:
    """The whole page; `state` is the JSON that its script reads."""
    links = "".join(f'<a href="#{_id(name)}">{name}</a>' for name in sections)
    body = "".join(
        f'<section id="{_id(name)}"><h2>{name}</h2>{markup or "<p>Nothing.</p>"}</section>'
        for name, markup in sections.items()
    )
    assets = files("analysis.report")
    scripts = [vl_convert.javascript_bundle(BUNDLE), (assets / "report.js").read_text(encoding="utf-8")]
    safe = state.replace("<", "\\u003c")
    # Each in a scope of its own: the bundle declares names such as $.
    code = "".join(f"<script>(() => {{{_safe_script(script)}\n}})();</script>" for script in scripts)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}: report</title><link rel="icon" href="data:,">
<style>{(assets / "report.css").read_text(encoding="utf-8")}</style></head><body>
<a class="skip" href="#answers">Skip to the answers</a>
<header><h1>{escape(title)}</h1><nav aria-label="Sections">{links}</nav>
<button id="theme" type="button">Dark or light</button></header>
<main>{body}</main>
<script type="application/json" id="state">{safe}</script>
{code}</body></html>
"""


def explorer(constructions: Sequence[str], *, held: int, out: int) -> str:
    """Filters, the chart, the list of trials and the place where a trial's details open."""
    boxes = "".join(
        f'<label><input type="checkbox" name="construction" value="{escape(name)}" checked>'
        f'<span class="dot" data-construction="{escape(name)}"></span>{escape(name)}</label>'
        for name in constructions
    )
    words = f"{held:,} trials, each with its details."
    if out:
        words += (
            f" {out:,} more are left out one by one and only counted in the shaded cells (or have no connectivity): "
            "the page holds the validation fronts, all references, replicates and grids, and every n-th of the rest."
        )
    return f"""<p id="held">{words}</p>
<form id="filters" aria-label="Filters"><fieldset><legend>Construction</legend>{boxes}</fieldset>
<label>Dataset and model <select id="setting"></select></label>
<label>Role <select id="role"></select></label>
<label>Quality <select id="quality"></select></label>
<label><input type="checkbox" id="failed"> draw failed trials too</label></form>
<p id="count" role="status"></p>
<div id="chart" tabindex="0" role="group" aria-label="{KEYS}"></div>
<p class="what">Line: front by validation, of the trials shown. Dashed: the deep ensemble, mean over seeds. Click a
point for its paths, members and reliability; with the keyboard, arrows and Enter.</p>
<section id="detail" tabindex="-1" aria-label="Details of a trial" hidden></section>
<div class="scroll"><table id="list"><caption>Trials, the validation front first</caption></table></div>
<button id="more" type="button">Show all</button>"""


def yardsticks(found: Sequence[Verdict], unknown: Sequence[str]) -> str:
    """Runs against the literature; `unknown` are datasets without yardsticks."""
    if not found:
        copy = f" Is {' or '.join(unknown)} a copy of a known dataset? launch.py verify --as NAME." if unknown else ""
        return f"<p>No yardstick is about a dataset and model of these results.{escape(copy)}</p>"
    head = "".join(f"<th>{name}</th>" for name in ("yardstick", "band", "runs", "verdict", "cause, source"))
    rows = "".join(
        f'<tr class="{escape(v.word.replace(" ", "-"))}"><td>{escape(v.yardstick.what)}</td><td>{escape(v.band)}</td>'
        f"<td>{escape(v.measured)}</td><td><b>{escape(v.word)}</b></td>"
        f"<td>{escape(' '.join(part for part in (v.why, v.yardstick.source) if part))}</td></tr>"
        for v in found
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _id(name: str) -> str:
    return name.lower()


def _safe_script(text: str) -> str:
    """The script so that nothing in it ends the element it is in."""
    return text.replace("</script", "<\\/script")
