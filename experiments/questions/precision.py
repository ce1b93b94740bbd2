"""Does mixed precision cost accuracy?"""

import tables
from runs import Run
from tables import After

SEEDS = 3
RUNS = {
    "float32": Run(epochs=25),
    "mixed_bfloat16": Run(dtype_policy="mixed_bfloat16", epochs=10),
}


def report(found):
    columns = [After("val_accuracy", 10), After("test_accuracy", 10)]
    return tables.table(tables.chosen(found, columns), reference="float32")
