"""With Adam: does it tolerate higher learning rates?"""

import figures
import tables
from questions import dead_units
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
    validation, test = tables.validation_and_test(found)
    rates = {
        name: (validation[name, 0.003], validation[name, 0.001])
        for name in (WITH, WITHOUT)
    }
    first = tables.after(found, "val_accuracy", 1)
    starts = {rate: (first[WITH, rate], first[WITHOUT, rate]) for rate in RATES}
    yield tables.grid(validation, "learning rate")
    yield tables.grid(test, "learning rate")
    yield tables.at_their_best(validation, test)
    yield "Validation accuracy at 0.003 minus that at 0.001:"
    yield tables.differences(rates)
    yield (
        "What the layers add to validation accuracy after the first epoch, by learning"
        " rate:"
    )
    yield tables.differences(starts)


def draw(found):
    figure, axes = figures.new()
    figures.dots(axes, tables.after(found, "test_accuracy"), "learning rate of Adam")
    axes.set_title("all images")
    return figure
