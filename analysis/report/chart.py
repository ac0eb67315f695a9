"""Vega-Lite specification of the interactive chart; the page fills its data sets."""

from collections.abc import Mapping
from typing import Any

from basin.api.style import Look

SHAPES = {"s": "square", "^": "triangle-up", "o": "circle", "v": "triangle-down", "D": "diamond", "P": "cross"}
"""Matplotlib's markers in Vega's words."""


def front_chart(looks: Mapping[str, Look]) -> dict[str, Any]:
    """Specify points by construction, the front, the deep ensemble's line and the cells of counted trials.

    The page sets the axes, which are columns of choice, and the tooltip.
    """
    scale = {"domain": list(looks), "range": [look.colour for look in looks.values()]}
    shapes = {"domain": list(looks), "range": [SHAPES.get(look.marker, "circle") for look in looks.values()]}
    x, y = ({"field": side, "type": "quantitative"} for side in "xy")
    colour = {"field": "construction", "type": "nominal", "scale": scale, "legend": None}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": "Two columns of the trials, one point a trial",
        "width": "container",
        "height": 400,
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
                "mark": {"type": "line", "strokeWidth": 1.2, "color": "#808080"},
                "encoding": {"x": x, "y": y, "order": {"field": "x", "type": "quantitative"}},
            },
            {
                "data": {"name": "points"},
                "params": [{"name": "brush", "select": "interval"}],
                "mark": {"type": "point", "filled": True, "opacity": 0.75, "cursor": "pointer"},
                "encoding": {
                    "x": x,
                    "y": y,
                    "color": colour,
                    "shape": {"field": "construction", "type": "nominal", "scale": shapes, "legend": None},
                    "stroke": {"condition": {"test": "datum.ringed", "value": "#808080"}, "value": None},
                    "strokeWidth": {"condition": {"test": "datum.ringed", "value": 3}, "value": 0},
                    "size": {"condition": {"test": "datum.key === focused", "value": 320}, "value": 70},
                },
            },
        ],
    }
