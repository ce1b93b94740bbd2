"""With plain SGD: does it tolerate higher learning rates?"""

import figures
import tables
from figures import WITH, WITHOUT
from runs import BATCH_NORM, Run, script_layers

SEEDS = 5
RUNS = {
    (name, rate): Run(
        script_layers(norm),
        train_images=10_000,
        optimizer="SGD",
        learning_rate=rate,
        batch_size=100,
        epochs=5,
    )
    for rate in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    for name, norm in {WITH: BATCH_NORM, WITHOUT: None}.items()
}


def report(found):
    validation, test = tables.validation_and_test(found)
    return "\n\n".join(
        [
            tables.grid(validation, "learning rate"),
            tables.grid(test, "learning rate"),
            tables.at_their_best(validation, test),
        ]
    )


def draw(found):
    figure, axes = figures.new()
    figures.dots(axes, tables.after(found, "test_accuracy"), "learning rate of SGD")
    axes.set_title("10,000 images")
    return figure
