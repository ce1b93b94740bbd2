"""What the figures share: a network has the same color, marker and line in all of them."""

from matplotlib.figure import Figure

import tables
from runs import GLOROT, HE, WITH, WITHOUT

DPI = 200
CHANCE = 0.1  # ten balanced classes

COLORS = {WITH: "C0", WITHOUT: "C1", GLOROT: "C1", HE: "C2"}
MARKERS = {WITH: "o", WITHOUT: "s", GLOROT: "s", HE: "^"}
LINES = {WITH: "-", WITHOUT: "--", GLOROT: "--", HE: ":"}


def new(rows=1, columns=1, size=(7, 4), **options):
    """Return a Figure, and its axes as matplotlib's subplots() does."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def curves(axes, runs, label, **look):
    """Draw a line for each run, (x, y); name them once."""
    for number, (x, y) in enumerate(runs):
        axes.plot(x, y, label=None if number else label, **look)


def dots(axes, series, xlabel):
    """Draw every seed as a dot and their medians as a line, on a logarithmic scale.

    series: accuracies, labelled by (network, number). The networks' dots stand up to two
    per cent beside the number, so that they do not hide each other.
    """
    networks = series.index.unique(0)
    numbers = series.index.unique(1)
    for network, aside in zip(networks, (0.98, 1.02, 1)):
        look = {"color": COLORS[network], "marker": MARKERS[network]}
        x = [number * aside for number in numbers]
        for _, accuracies in series[network].groupby(level=-1):
            axes.plot(x, accuracies, linestyle="", alpha=0.6, markersize=5, **look)
        medians = tables.by_label(series[network], "median")
        axes.plot(x, medians, label=network, linestyle=LINES[network], **look)
    chance(axes)
    axes.set(xscale="log", xlabel=xlabel, ylabel=series.name, ylim=(0, 1))
    axes.set_xticks(numbers, map(str, numbers))
    axes.minorticks_off()


def name_dots(axes):
    """Draw the legend of dots()."""
    axes.legend(title="each run a dot, their median a line", loc=(0.02, 0.2))


def chance(axes):
    """Draw a line at the accuracy of chance."""
    axes.axhline(CHANCE, color="gray", linestyle=":")
    axes.annotate(
        "chance",
        (0.99, CHANCE - 0.02),
        xycoords=("axes fraction", "data"),
        color="gray",
        ha="right",
        va="top",
    )
