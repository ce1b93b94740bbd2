"""With Adam: does it tolerate higher learning rates?"""

import figures
import tables
from figures import WITH, WITHOUT
from runs import BATCH_NORM, Run, script_layers

SEEDS = 3
RATES = 0.001, 0.003, 0.01, 0.03, 0.1
RUNS = {
    (name, rate): Run(script_layers(norm), learning_rate=rate, epochs=10)
    for rate in RATES
    for name, norm in {WITH: BATCH_NORM, WITHOUT: None}.items()
}


def report(found):
    validation, test = tables.validation_and_test(found)
    rates = {
        name: (validation[name, 0.003], validation[name, 0.001])
        for name in (WITH, WITHOUT)
    }
    first = tables.after(found, "val_accuracy", 1)
    starts = {rate: (first[WITH, rate], first[WITHOUT, rate]) for rate in RATES}
    return "\n\n".join(
        [
            tables.grid(validation, "learning rate"),
            tables.grid(test, "learning rate"),
            tables.at_their_best(validation, test),
            "Validation accuracy at 0.003 minus that at 0.001:",
            tables.differences(rates),
            "What the layers add to validation accuracy after the first epoch, by learning"
            " rate:",
            tables.differences(starts),
        ]
    )


def draw(found):
    figure, axes = figures.new()
    figures.dots(axes, tables.after(found, "test_accuracy"), "learning rate of Adam")
    axes.set_title("all images")
    return figure
