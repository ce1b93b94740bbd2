"""What does the momentum change?"""

import tables
from questions.averages import MOMENTUM_99
from runs import Run
from tables import After

SEEDS = 3
RUNS = {"momentum 0.9": Run(epochs=25), "momentum 0.99": Run(MOMENTUM_99, epochs=5)}


def report(found):
    columns = [After("val_accuracy", epoch) for epoch in range(1, 6)]
    first, second = found.values()
    same = sum(
        first[seed]["history"]["loss"][:5] == second[seed]["history"]["loss"]
        for seed in first
    )
    return (
        tables.table(tables.chosen(found, columns))
        + "\n\nThe training losses of these epochs agree in all five digits of results.jsonl"
        f" with {same} of {tables.plural(len(first), 'seed')}."
    )
