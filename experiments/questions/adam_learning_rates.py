"""With Adam: does it tolerate higher learning rates?"""

import figures
import tables
from questions import dead_units, default_run
from runs import NETWORKS, WITH, WITHOUT, Run

SEEDS = 3
MEASUREMENT = dead_units.DeadUnits
RATES = 0.001, 0.003, 0.01, 0.03, 0.1
RUNS = {
    (name, rate): Run(network, learning_rate=rate, epochs=10)
    for rate in RATES
    for name, network in NETWORKS.items()
}


def report(found):
    yield tables.at_their_best(*tables.validation_and_test(found))


def details(found):
    for series in tables.validation_and_test(found):
        yield tables.grid(series, "learning rate")
    validation = tables.after(found, "val_accuracy")
    rates = {name: ((name, 0.003), (name, 0.001)) for name in NETWORKS}
    yield "At 0.003 minus at 0.001:"
    yield tables.differences(validation, rates)
    starts = {rate: ((WITH, rate), (WITHOUT, rate)) for rate in RATES}
    yield "With minus without, by learning rate:"
    yield tables.differences(tables.after(found, "val_accuracy", 1), starts)
    yield default_run.epochs_to(found[[(name, 0.003) for name in NETWORKS]])
    yield (
        "Dead units: the share of Dense's units that ReLU makes zero for all validation"
        " images, after the last epoch, with the moving averages."
    )
    yield tables.every_seed([dead_units.share(found)], "network, learning rate")
    yield tables.losses_of_failures(found)


def draw(found):
    figure, axes = figures.new(size=(7, 4.5))
    figures.dots(axes, tables.after(found, "test_accuracy"), "learning rate of Adam")
    figures.name_dots(axes)
    return figure
