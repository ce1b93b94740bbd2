"""What the questions' figures share: a network keeps its color, marker and line."""

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

WITH, WITHOUT = "with Batch Normalization", "without"
CHANCE = 0.1  # ten balanced classes

LOOKS = {  # color, marker, line
    WITH: ("C0", "o", "-"),
    WITHOUT: ("C1", "s", "--"),
    "without, He initialization": ("C2", "^", ":"),
}


def new(rows=1, columns=1, size=(7, 4), **options):
    """Return a Figure, and its axes as matplotlib's subplots() does."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def dots(axes, values, heading):
    """Draw every seed as a dot and the medians as a line, over a logarithmic axis.

    values: {network: {position: its seeds' accuracies}}.
    """
    positions = sorted({position for found in values.values() for position in found})
    shifts = [0.94, 1.06, 1.0]  # so that dots of several networks are seen side by side
    for (network, found), shift in zip(values.items(), shifts):
        color, marker, line = LOOKS[network]
        medians = {position: seeds.median() for position, seeds in found.items()}
        shifted = [position * shift for position in medians]
        axes.plot(shifted, medians.values(), color=color, linestyle=line)
        axes.plot([], [], color + marker + line, label=network)  # for the legend
        for position, seeds in found.items():
            axes.plot([position * shift] * len(seeds), seeds, color + marker, alpha=0.6)
    axes.axhline(CHANCE, color="gray", linestyle=":")
    axes.text(positions[0] * 0.8, CHANCE + 0.015, "chance", color="gray")
    axes.set(xscale="log", ylim=(0, 1), title=heading)
    axes.set_xticks(positions, [f"{position:g}" for position in positions])
    axes.xaxis.set_minor_formatter(NullFormatter())
