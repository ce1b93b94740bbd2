"""Does it help in the default run?"""

import figures
import tables
from figures import WITH, WITHOUT
from runs import Run, script_layers
from tables import TEST, VALIDATION, After

SEEDS = 10
RUNS = {
    WITH: Run(epochs=25),
    WITHOUT: Run(script_layers(norm=None), epochs=25),
}


def report(found):
    columns = [
        After("val_accuracy", 1),
        After("val_accuracy", 5),
        VALIDATION,
        TEST,
        After("val_loss"),
        After("test_loss"),
    ]
    values = tables.chosen(found, columns)
    differences = tables.differences(values, WITH, WITHOUT)
    return (
        f"{tables.table(values)}\n\n"
        f"The difference that the layers make, with its 95 % interval:\n\n{differences}"
        "\n\nWithout the layers, validation accuracy reaches what it is after the first"
        f" epoch with them in epoch {caught_up(found)} (by seed)."
        f"\n\nValidation loss is lowest with the layers in epoch {lowest(found[WITH])},"
        f" without them in epoch {lowest(found[WITHOUT])} (by seed)."
    )


def caught_up(found):
    """Return the epochs, by seed, in which "without" has "with"'s first accuracy."""
    epochs = []
    for seed in sorted(found[WITH]):
        first = found[WITH][seed]["history"]["val_accuracy"][0]
        others = found[WITHOUT][seed]["history"]["val_accuracy"]
        reached = [n for n, accuracy in enumerate(others, 1) if accuracy >= first]
        epochs.append(str(reached[0]) if reached else "none")
    return ", ".join(epochs)


def lowest(lines):
    """Return the epochs, by seed, in which the validation loss is lowest."""
    losses = [lines[seed]["history"]["val_loss"] for seed in sorted(lines)]
    return ", ".join(str(loss.index(min(loss)) + 1) for loss in losses)


def draw(found):
    figure, axes = figures.new()
    for network, lines in found.items():
        color, marker, look = figures.LOOKS[network]
        for number, line in enumerate(lines.values()):
            accuracy = line["history"]["val_accuracy"]
            axes.plot(
                range(1, len(accuracy) + 1),
                accuracy,
                color + marker + look,
                markersize=3,
                linewidth=1,
                label=None if number else network,
            )
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(title="each seed a line")
    return figure
