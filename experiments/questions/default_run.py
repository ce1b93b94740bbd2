"""Does it help in the default run?"""

import figures
import tables
from runs import NETWORKS, WITH, WITHOUT, Run

SEEDS = 10
RUNS = {name: Run(network, epochs=25) for name, network in NETWORKS.items()}


def report(found):
    columns = [
        tables.after(found, "val_accuracy", 1),
        tables.after(found, "val_accuracy", 5),
        *tables.validation_and_test(found),
        tables.after(found, "val_loss"),
        tables.after(found, "test_loss"),
    ]
    yield tables.table(columns)
    yield "The difference that the layers make, with its 95 % interval:"
    yield tables.differences({of.name: (of[WITH], of[WITHOUT]) for of in columns})
    yield (
        "Without the layers, validation accuracy reaches what it is after the first"
        f" epoch with them in epoch {caught_up(found)} (by seed)."
    )
    yield (
        f"Validation loss is lowest with the layers in epoch {lowest(found[WITH])},"
        f" without them in epoch {lowest(found[WITHOUT])} (by seed)."
    )


def caught_up(found):
    """Return the epochs, by seed, in which "without" has "with"'s first accuracy."""
    epochs = []
    for line, other in zip(found[WITH], found[WITHOUT]):
        first = line["history"]["val_accuracy"][0]
        others = other["history"]["val_accuracy"]
        reached = [n for n, accuracy in enumerate(others, 1) if accuracy >= first]
        epochs.append(str(reached[0]) if reached else "none")
    return ", ".join(epochs)


def lowest(lines):
    """Return the epochs, by seed, in which the validation loss is lowest."""
    losses = [line["history"]["val_loss"] for line in lines]
    return ", ".join(str(loss.index(min(loss)) + 1) for loss in losses)


def draw(found):
    figure, axes = figures.new()
    for network, lines in found.items():
        for number, line in enumerate(lines):
            accuracy = line["history"]["val_accuracy"]
            axes.plot(
                range(1, len(accuracy) + 1),
                accuracy,
                color=figures.COLORS[network],
                marker=figures.MARKERS[network],
                linestyle=figures.LINES[network],
                markersize=3,
                linewidth=1,
                label=None if number else network,
            )
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(title="each seed a line")
    return figure
