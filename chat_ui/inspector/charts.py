"""Line charts and bars, as options of ECharts. Colours of text and lines are set on the page (`inspector.js`), which
knows whether it is light or dark; the series have colours that can be told apart on both.

Left out: what is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

# Told apart by colour-blind eyes too (after Okabe and Ito), on paper and on slate.
PALETTE = ("#1f8f86", "#d9731a", "#6f7bd6", "#c2568f", "#8a9a2b", "#3f97cf", "#b8860b", "#7d7d7d")


def lines(
    series: Mapping[str, Sequence[Sequence[float]]],
    x: str,
    y: str,
    *,
    log: bool = False,
    legend: bool = True,
    looks: Mapping[str, tuple[int, bool]] | None = None,
) -> dict[str, Any]:
    """Points [x, y] of each series, joined. `looks`: of a series, its colour's place and whether it is dashed."""
    looks = looks or {name: (place, False) for place, name in enumerate(series)}
    return {
        "color": list(PALETTE),
        "animation": False,
        "grid": {"left": 8, "right": 16, "top": 34 if legend or y else 14, "bottom": 30, "containLabel": True},
        "legend": {"show": legend, "top": 0, "type": "scroll"},
        "tooltip": {"trigger": "axis", "confine": True},
        "xAxis": {"type": "value", "name": x, "nameLocation": "middle", "nameGap": 24, "min": "dataMin",
                  "max": "dataMax", "axisLabel": {"showMinLabel": False, "showMaxLabel": False, "hideOverlap": True}},
        "yAxis": {"type": "log" if log else "value", "scale": True, "name": y, "nameTextStyle": {"align": "left"}},
        "series": [
            {"type": "line", "name": name, "data": [list(point) for point in points], "showSymbol": len(points) < 30,
             "symbolSize": 5, "sampling": "lttb", "color": PALETTE[looks[name][0] % len(PALETTE)],
             "lineStyle": {"width": 2, "type": "dashed" if looks[name][1] else "solid"}}
            for name, points in series.items()
        ],
    }  # fmt: skip


def chart(options: dict[str, Any], label: str) -> ui.echart:
    """A chart on the page; `label` says to a reader who does not see it what it shows."""
    return ui.echart(options).classes("chart").props(f'role="img" aria-label="{label}"')
