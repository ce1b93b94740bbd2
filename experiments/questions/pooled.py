"""Why is test accuracy lower than validation accuracy?"""

import tables
from figures import WITH, WITHOUT
from runs import BATCH_NORM, Run, script_layers
from tables import After

SEEDS = 3
RUNS = {
    f"{split}, {name}": Run(
        script_layers(norm), pooled=pooled, epochs=5 if pooled else 25
    )
    for split, pooled in {"as published": False, "pooled and split again": True}.items()
    for name, norm in {WITH: BATCH_NORM, WITHOUT: None}.items()
}


def report(found):
    values = tables.chosen(found, [After("val_accuracy", 5), After("test_accuracy", 5)])
    validation, test = (values[column] for column in values)
    return (
        f"{tables.table(values)}\n\nTest accuracy minus validation accuracy:\n\n"
        + tables.by_label(test, validation)
    )
