"""Does it help in the default run?"""

import math

import numpy as np
import pandas as pd
from scipy import stats

import figures
import tables
from runs import NETWORKS, WITH, WITHOUT, Run

SEEDS = 10
RUNS = {name: Run(network, epochs=25) for name, network in NETWORKS.items()}
ACCURACIES = 0.90, 0.92, 0.93, 0.94, 0.945, 0.95


def lowest_loss(line):
    """Return the first epoch, from 1 on, with the lowest validation loss."""
    losses = line["history"]["val_loss"]
    return 1 + losses.index(min(losses))


def highest_accuracy(line):
    """Return the first epoch, from 1 on, with the highest validation accuracy."""
    accuracies = line["history"]["val_accuracy"]
    return 1 + accuracies.index(max(accuracies))


def test_accuracy_at(found, name, epoch_of):
    """Return each run's test accuracy after the epoch that epoch_of(line) returns."""
    return tables.values(
        found, name, lambda line: line["history"]["test_accuracy"][epoch_of(line) - 1]
    )


def test_accuracies(found):
    """Return the test accuracy by several measures, a Series each."""
    return [
        tables.after(found, "test_accuracy", 1),
        tables.after(found, "test_accuracy", 5),
        tables.after(found, "test_accuracy", 10),
        tables.after(found, "test_accuracy", 20),
        tables.after(found, "test_accuracy", 25),
        tables.values(
            found,
            "test accuracy, mean of the last five epochs",
            lambda line: sum(line["history"]["test_accuracy"][-5:]) / 5,
        ),
        test_accuracy_at(
            found, "test accuracy at the lowest validation loss", lowest_loss
        ),
        test_accuracy_at(
            found, "test accuracy at the highest validation accuracy", highest_accuracy
        ),
    ]


def report(found):
    yield epochs_to(found)


def details(found):
    yield tables.compare(test_accuracies(found), WITH, WITHOUT)
    columns = [
        tables.after(found, "val_accuracy", 1),
        tables.after(found, "val_accuracy", 5),
        tables.after(found, "val_accuracy"),
        tables.after(found, "val_loss"),
        tables.after(found, "test_loss"),
    ]
    yield tables.compare(columns, WITH, WITHOUT)
    yield "By seed, the first epoch in which"
    yield "\n".join(
        f"- {what}: {', '.join(map(str, epochs))}"
        for what, epochs in {
            "validation loss is lowest, with": found[WITH].map(lowest_loss),
            "validation loss is lowest, without": found[WITHOUT].map(lowest_loss),
            "validation accuracy without it is what it is after one epoch with it": [
                first_epoch(other, "val_accuracy", line["history"]["val_accuracy"][0])
                for line, other in zip(found[WITH], found[WITHOUT])
            ],
            "test accuracy without it is what it is after five epochs with it": [
                first_epoch(other, "test_accuracy", line["history"]["test_accuracy"][4])
                for line, other in zip(found[WITH], found[WITHOUT])
            ],
        }.items()
    )


def first_epoch(line, quantity, accuracy):
    """Return the first epoch in which a run has an accuracy; infinity if none has it."""
    history = line["history"][quantity]
    reached = [epoch for epoch, value in enumerate(history, 1) if value >= accuracy]
    return reached[0] if reached else math.inf


def epochs_to(found):
    """Return a table: how many epochs it takes to reach a test accuracy, and CPU seconds.

    They are the median run's. An epoch takes what it took in the fastest of the runs,
    validation and test included.
    """
    cells = {}
    for name, lines in found.items():
        seconds = min(60 * line["minutes"] / line["run"].epochs for line in lines)
        epochs, times = [], []
        for accuracy in ACCURACIES:
            median = pd.Series(
                [first_epoch(line, "test_accuracy", accuracy) for line in lines]
            ).median()
            reached = math.isfinite(median)
            epochs.append(f"{median:g}" if reached else "not reached")
            times.append(f"{median * seconds:.0f}" if reached else "not reached")
        name = tables.text(name)
        cells |= {f"epochs, {name}": epochs, f"CPU seconds, {name}": times}
    rows = [f"{accuracy:.3f}" for accuracy in ACCURACIES]
    return tables.markdown(pd.DataFrame(cells, rows), "test accuracy")


def draw(found):
    figure, (above, below) = figures.new(rows=2, size=(7, 6), sharex=True)
    epochs = range(1, 26)
    for network, lines in found.items():
        curves = [(epochs, line["history"]["val_accuracy"]) for line in lines]
        look = {"color": figures.COLORS[network], "linestyle": figures.LINES[network]}
        marker = figures.MARKERS[network]
        figures.curves(
            above, curves, network, marker=marker, markersize=3, linewidth=1, **look
        )
    above.set_ylabel("validation accuracy")
    above.legend(title="each run a line")
    with_it, without = (
        np.array([line["history"]["test_accuracy"] for line in found[name]])
        for name in (WITH, WITHOUT)
    )
    difference = with_it - without  # run, epoch
    interval = stats.ttest_1samp(difference, 0).confidence_interval(0.95)
    below.fill_between(epochs, *interval, color="lightgray", label="95 % interval")
    below.plot(epochs, difference.mean(axis=0), color="black", label="mean")
    below.axhline(0, color="gray", linewidth=1)
    below.set(xlabel="epoch", ylabel="test accuracy:\nwith minus without")
    below.legend()
    return figure
