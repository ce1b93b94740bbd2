"""With plain SGD: does it tolerate higher learning rates?"""

import figures
import tables
from runs import NETWORKS, Run

SEEDS = 5
RUNS = {
    (name, rate): Run(
        network,
        train_images=10_000,
        optimizer="SGD",
        learning_rate=rate,
        batch_size=100,
        epochs=5,
    )
    for rate in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    for name, network in NETWORKS.items()
}


def report(found):
    validation, test = tables.validation_and_test(found)
    yield tables.grid(validation, "learning rate")
    yield tables.grid(test, "learning rate")
    yield tables.at_their_best(validation, test)


def draw(found):
    figure, axes = figures.new()
    figures.dots(axes, tables.after(found, "test_accuracy"), "learning rate of SGD")
    axes.set_title("10,000 images")
    return figure
