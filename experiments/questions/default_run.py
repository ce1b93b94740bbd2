"""Does it help in the default run?"""

import figures
import tables
from figures import WITH, WITHOUT
from runs import Run, script_layers

SEEDS = 10
RUNS = {
    (WITH,): Run(epochs=25),
    (WITHOUT,): Run(script_layers(norm=None), epochs=25),
}


def report(found):
    columns = [
        tables.after(found, "val_accuracy", 1),
        tables.after(found, "val_accuracy", 5),
        *tables.validation_and_test(found),
        tables.after(found, "val_loss"),
        tables.after(found, "test_loss"),
    ]
    return "\n\n".join(
        [
            tables.table(columns),
            "The difference that the layers make, with its 95 % interval:",
            tables.differences({of.name: (of[WITH], of[WITHOUT]) for of in columns}),
            "Without the layers, validation accuracy reaches what it is after the first"
            f" epoch with them in epoch {caught_up(found)} (by seed).",
            f"Validation loss is lowest with the layers in epoch {lowest(found[WITH,])},"
            f" without them in epoch {lowest(found[WITHOUT,])} (by seed).",
        ]
    )


def caught_up(found):
    """Return the epochs, by seed, in which "without" has "with"'s first accuracy."""
    epochs = []
    for seed, line in found[WITH,].items():
        first = line["history"]["val_accuracy"][0]
        others = found[WITHOUT,][seed]["history"]["val_accuracy"]
        reached = [n for n, accuracy in enumerate(others, 1) if accuracy >= first]
        epochs.append(str(reached[0]) if reached else "none")
    return ", ".join(epochs)


def lowest(lines):
    """Return the epochs, by seed, in which the validation loss is lowest."""
    losses = [line["history"]["val_loss"] for line in lines.values()]
    return ", ".join(str(loss.index(min(loss)) + 1) for loss in losses)


def draw(found):
    figure, axes = figures.new()
    for (network,), lines in found.items():
        for number, line in enumerate(lines.values()):
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
