"""The Vega-Lite specification of the interactive front; the page fills its data sets."""

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.style import Look

SHAPES = {"s": "square", "^": "triangle-up", "o": "circle", "v": "triangle-down", "D": "diamond", "P": "cross"}
"""Matplotlib's markers in Vega's words."""


def front(looks: Mapping[str, Look], tooltip: Sequence[tuple[str, str, bool]]) -> dict[str, Any]:
    """Points by construction, the validation front, the deep ensemble's line, cells of what is counted only.

    `tooltip`: field, title and whether it is a number.
    """
    scale = {"domain": list(looks), "range": [look.colour for look in looks.values()]}
    shapes = {"domain": list(looks), "range": [SHAPES.get(look.marker, "circle") for look in looks.values()]}
    x = {"field": "x", "type": "quantitative", "scale": {"type": "symlog", "nice": False, "padding": 12}}
    x["axis"] = {"title": "X", "values": [-100, -30, -10, -3, -1, 0, 1, 3, 10, 30], "grid": True}
    y = {"field": "y", "type": "quantitative", "title": "Y", "scale": {"zero": False, "padding": 10}}
    tips = [
        {"field": field, "title": title, "type": "quantitative" if number else "nominal"}
        | ({"format": ".4~g"} if number else {})
        for field, title, number in tooltip
    ]
    colour = {"field": "construction", "type": "nominal", "scale": scale, "legend": None}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": "Connectivity against quality, one point a trial",
        "width": "container",
        "height": 360,
        "autosize": {"type": "fit", "contains": "padding"},
        "datasets": {name: [] for name in ("points", "front", "deep", "cells")},
        "params": [{"name": "focused", "value": ""}],
        "layer": [
            {
                "data": {"name": "cells"},
                "mark": {"type": "rect", "tooltip": None},
                "encoding": {
                    "x": x,
                    "x2": {"field": "x2"},
                    "y": y,
                    "y2": {"field": "y2"},
                    "color": colour,
                    "opacity": {
                        "field": "count",
                        "type": "quantitative",
                        "scale": {"range": [0.06, 0.35]},
                        "legend": None,
                    },
                },
            },
            {
                "data": {"name": "deep"},
                "mark": {"type": "rule", "strokeDash": [6, 4], "strokeWidth": 1.5},
                "encoding": {"y": y, "color": {"value": "currentColor"}},
            },
            {
                "data": {"name": "front"},
                "mark": {"type": "line", "interpolate": "step-before", "strokeWidth": 1.2, "color": "#808080"},
                "encoding": {"x": x, "y": y, "order": {"field": "x", "type": "quantitative"}},
            },
            {
                "data": {"name": "points"},
                "mark": {"type": "point", "filled": True, "opacity": 0.75, "cursor": "pointer"},
                "encoding": {
                    "x": x,
                    "y": y,
                    "color": colour,
                    "shape": {"field": "construction", "type": "nominal", "scale": shapes, "legend": None},
                    "size": {"condition": {"test": "datum.key === focused", "value": 320}, "value": 70},
                    "tooltip": tips,
                },
            },
        ],
    }
