"""Why is test accuracy lower than validation accuracy?"""

import pandas as pd

import tables
from runs import NETWORKS, WITH, WITHOUT, Run

SEEDS = 3
RUNS = {
    (name, split): Run(network, pooled=pooled)
    for split, pooled in {"as published": False, "pooled and split again": True}.items()
    for name, network in NETWORKS.items()
}


def report(found):
    yield tables.table(tables.validation_and_test(found))


def details(found):
    validation, test = tables.validation_and_test(found)
    lower = pd.DataFrame(
        {
            "test minus validation": {
                tables.text(label): tables.difference(test[label], validation[label])
                for label in RUNS
            }
        }
    )
    yield tables.markdown(lower, "network")
    yield tables.pairs(test, "test images")
    errors = {
        split: errors_of(WITH, split, test) / errors_of(WITHOUT, split, test)
        for split in test.index.unique(1)
    }
    yield "Errors in the test, with Batch Normalization over without: " + ", ".join(
        f"{ratio:.2f} ({split})" for split, ratio in errors.items()
    )


def errors_of(name, split, accuracy):
    return 1 - accuracy[name, split].mean()
