"""What the questions' figures share: a network keeps its color, marker and line."""

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

WITH, WITHOUT = "with Batch Normalization", "without"
# Without the layers, too, but with the initialization named.
GLOROT, HE = "without, Keras' initialization", "without, He's initialization"
CHANCE = 0.1  # ten balanced classes

LOOKS = {  # color, marker, line
    WITH: ("C0", "o", "-"),
    WITHOUT: ("C1", "s", "--"),
    GLOROT: ("C1", "s", "--"),
    HE: ("C2", "^", ":"),
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
    width = positions[-1] / positions[0]  # of the axis, whose logarithm is drawn
    for number, (network, found) in enumerate(values.items()):
        color, marker, line = LOOKS[network]
        # Networks, and their seeds, stand side by side, so that equal ones are seen.
        shift = width ** (0.032 * (number - (len(values) - 1) / 2))
        medians = {
            position * shift: seeds.median() for position, seeds in found.items()
        }
        axes.plot(medians.keys(), medians.values(), color=color, linestyle=line)
        axes.plot([], [], color + marker + line, label=network)  # for the legend
        for position, seeds in found.items():
            middle = (len(seeds) - 1) / 2
            places = [
                position * shift * width ** (0.0065 * (seed - middle))
                for seed in range(len(seeds))
            ]
            axes.plot(places, seeds, color + marker, markersize=4, alpha=0.7)
    axes.axhline(CHANCE, color="gray", linestyle=":")
    axes.text(positions[0] * 0.8, CHANCE + 0.015, "chance", color="gray")
    axes.set(xscale="log", ylim=(0, 1), title=heading)
    axes.set_xticks(positions, [f"{position:g}" for position in positions])
    axes.xaxis.set_minor_formatter(NullFormatter())
