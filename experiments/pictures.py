"""Draw the README's pictures that show no measurement.

    python experiments/pictures.py

kmnist.png: ten images of each class. axes.png: the values that share one mean.
"""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import runs
from figures import DPI
from runs import HERE

CLASSES = "o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"
ATTRIBUTION = (
    "“KMNIST Dataset” (created by CODH), adapted from\n“Kuzushiji Dataset” (created by NIJL"
    " and others),\ndoi:10.20676/00000341, licensed CC BY-SA 4.0"
)


def samples():
    """Draw ten images of each of KMNIST's ten classes, a row each."""
    (x, y), _ = runs.load(runs.Run())
    figure = Figure(figsize=(5, 5.5), layout="constrained")
    axes = figure.subplots()
    x = np.pad(x, [(0, 0), (2, 2), (2, 2), (0, 0)])  # a gap of four pixels
    rows = [np.hstack(x[y == number][:10]) for number in range(10)]
    axes.imshow(np.vstack(rows), cmap="gray_r")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=13)
    axes.set_yticks(16 + 32 * np.arange(10), CLASSES)
    axes.set_xticks([])
    axes.set_xlabel(ATTRIBUTION, fontsize=8.5)
    return figure


def mean_axes():
    """Draw the values that share one mean, after Conv2D and after Dense."""
    figure = Figure(figsize=(8, 2.6))
    axes = figure.add_axes([0, 0, 1, 1])
    for image in range(3):
        for channel in (2, 1, 0):  # the first is drawn last, in front
            left, bottom = 6 * image + 0.7 * channel, 0.7 * channel
            for row in range(4):
                for column in range(4):
                    cell(axes, left + column, bottom + row, channel == 0)
        axes.text(6 * image + 2, -0.8, f"image {image + 1}", ha="center")
        for unit in range(4):
            cell(axes, 22.5 + unit, 4 - 1.9 * image, unit == 0)
        axes.text(
            22.2, 4.5 - 1.9 * image, f"image {image + 1}", ha="right", va="center"
        )
    titles = {
        8.7: "after a convolution: one channel,\nall images, all rows and columns",
        23.5: "after a dense layer:\none unit, all images",
    }
    for x, title in titles.items():
        axes.text(x, 6, title, ha="center", va="bottom", fontsize=12)
    axes.set(xlim=(-0.5, 27.5), ylim=(-1.2, 7.9), aspect="equal")
    axes.set_axis_off()
    return figure


def cell(axes, left, bottom, marked):
    """Draw one value, a square."""
    look = {"facecolor": "C0", "hatch": "//"} if marked else {"facecolor": "white"}
    axes.add_patch(Rectangle((left, bottom), 1, 1, edgecolor="black", **look))


if __name__ == "__main__":
    samples().savefig(HERE / "kmnist.png", dpi=DPI)
    mean_axes().savefig(HERE / "axes.png", dpi=DPI)
