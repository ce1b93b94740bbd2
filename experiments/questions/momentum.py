"""What does the momentum change?"""

import tables
from questions.averages import MOMENTUM_99
from runs import Run
from tables import After

SEEDS = 3
RUNS = {"momentum 0.9": Run(epochs=25), "momentum 0.99": Run(MOMENTUM_99, epochs=5)}


def report(found):
    columns = [After("val_accuracy", epoch) for epoch in range(1, 6)]
    return tables.table(tables.chosen(found, columns))
