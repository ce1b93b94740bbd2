"""With Adam: does it bear higher learning rates?"""

import figures
import tables
from figures import WITH, WITHOUT
from runs import BATCH_NORM, Run, script_layers
from tables import After

SEEDS = 3
RATES = 0.001, 0.003, 0.01, 0.03, 0.1
# Those at the script's rate are the default runs, looked at after ten of their epochs.
RUNS = {
    f"{name}, {rate}": Run(
        script_layers(norm), learning_rate=rate, epochs=25 if rate == 0.001 else 10
    )
    for rate in RATES
    for name, norm in {WITH: BATCH_NORM, WITHOUT: None}.items()
}
COLUMNS = After("val_accuracy", 10), After("test_accuracy", 10)


def report(found):
    networks = WITH, WITHOUT
    columns = {"first": After("val_accuracy", 1), "tenth": COLUMNS[0]}
    validation = tables.frame(found, columns)
    starts = {rate: (f"{WITH}, {rate}", f"{WITHOUT}, {rate}") for rate in RATES}
    rates = {name: (f"{name}, 0.003", f"{name}, 0.001") for name in networks}
    return (
        tables.grids(found, RATES, networks, "learning rate", COLUMNS)
        + "\n\n"
        + tables.at_their_best(found, RATES, networks, epoch=10)
        + "\n\nValidation accuracy at 0.003 minus that at 0.001:\n\n"
        + tables.compared(validation["tenth"], rates)
        + "\n\nWhat the layers add to validation accuracy after the first epoch, by learning"
        " rate:\n\n" + tables.compared(validation["first"], starts)
    )


def draw(found):
    figure, axes = figures.new()
    seeds = tables.chosen(found, [COLUMNS[1]]).iloc[:, 0]
    values = {
        name: {rate: seeds.loc[f"{name}, {rate}"] for rate in RATES}
        for name in (WITH, WITHOUT)
    }
    figures.dots(axes, values, "all images")
    axes.set(xlabel="learning rate of Adam", ylabel=seeds.name)
    axes.legend(title="each seed a dot, their median a line", loc=(0.02, 0.16))
    return figure
