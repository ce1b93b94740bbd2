"""With plain SGD: does it tolerate higher learning rates?"""

from dataclasses import replace

import figures
import tables
from runs import NETWORKS, Run

SMALL = Run(train_images=10_000, optimizer="SGD", batch_size=100)
ALL = replace(SMALL, train_images=None, batch_size=250)
ON_10000 = {
    (name, rate): replace(SMALL, network=network, learning_rate=rate)
    for rate in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    for name, network in NETWORKS.items()
}
ON_ALL = {
    (name, f"{rate}, all images"): replace(ALL, network=network, learning_rate=rate)
    for rate in (0.3, 1.0, 3.0)
    for name, network in NETWORKS.items()
}
RUNS = ON_10000 | ON_ALL
SEEDS = dict.fromkeys(ON_10000, 5) | dict.fromkeys(ON_ALL, 3)


def report(found):
    yield tables.at_their_best(*tables.validation_and_test(found[[*ON_10000]]))
    yield tables.at_their_best(*tables.validation_and_test(found[[*ON_ALL]]))


def details(found):
    for series in tables.validation_and_test(found):
        yield tables.grid(series, "learning rate")
    yield tables.pairs(tables.after(found, "test_accuracy"), "learning rate")
    yield tables.losses_of_failures(found)


def draw(found):
    figure, axes = figures.new(size=(7, 4.5))
    test = tables.after(found[[*ON_10000]], "test_accuracy")
    figures.dots(axes, test, "learning rate of SGD")
    figures.name_dots(axes)
    return figure
