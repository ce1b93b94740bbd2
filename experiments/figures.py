"""What the figures share: a network has the same color, marker and line in all of them."""

import seaborn
from matplotlib.figure import Figure

from runs import GLOROT, HE, WITH, WITHOUT

CHANCE = 0.1  # ten balanced classes

COLORS = {WITH: "C0", WITHOUT: "C1", GLOROT: "C1", HE: "C2"}
MARKERS = {WITH: "o", WITHOUT: "s", GLOROT: "s", HE: "^"}
LINES = {WITH: "-", WITHOUT: "--", GLOROT: "--", HE: ":"}


def new(rows=1, columns=1, size=(7, 4), **options):
    """Return a Figure, and its axes as matplotlib's subplots() does."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def dots(axes, series, xlabel):
    """Draw every seed as a dot and their medians as a line.

    series: accuracies, labelled by (network, position).
    """
    data = series.rename_axis(["network", xlabel, "seed"]).reset_index()
    networks = list(data["network"].unique())
    axis = {"data": data, "x": xlabel, "y": series.name, "hue": "network", "ax": axes}
    seaborn.swarmplot(
        **axis, dodge=True, palette=COLORS, size=4, alpha=0.7, legend=False
    )
    seaborn.pointplot(
        **axis,
        dodge=0.8 - 0.8 / len(networks),
        palette=COLORS,
        markers=[MARKERS[name] for name in networks],
        linestyles=[LINES[name] for name in networks],
        linewidth=1.5,
        estimator="median",
        errorbar=None,
    )
    axes.axhline(CHANCE, color="gray", linestyle=":")
    axes.text(-0.4, CHANCE + 0.015, "chance", color="gray")
    axes.set(ylim=(0, 1), ylabel=series.name)
    axes.legend(title="each seed a dot, their median a line", loc=(0.02, 0.16))
