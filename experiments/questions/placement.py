"""Before or after the activation, and how many?"""

import tables
from runs import WITHOUT, Run, script_layers

SEEDS = 10
SCRIPTS = "after ReLU and after pooling, five layers, as in the script"
AFTER = "after ReLU, three layers"
BEFORE = "before ReLU, three layers, as in the paper"
RUNS = {
    WITHOUT: Run(script_layers(norm=None)),
    SCRIPTS: Run(),
    AFTER: Run(script_layers(after_pooling=False)),
    BEFORE: Run(script_layers(before_relu=True, after_pooling=False)),
}


def report(found):
    yield tables.table(tables.validation_and_test(found), reference=SCRIPTS)
    yield tables.compare(tables.validation_and_test(found), AFTER, BEFORE)


def details(found):
    by_epoch = [tables.after(found, "test_accuracy", epoch) for epoch in range(1, 6)]
    yield tables.compare(by_epoch, AFTER, BEFORE)
    yield tables.every_seed(tables.validation_and_test(found))
