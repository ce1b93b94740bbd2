"""Is a bias still needed?"""

import tables
from runs import Run, script_layers

SEEDS = 3
WITH_BIASES = "before ReLU, with biases"
RUNS = {
    WITH_BIASES: Run(script_layers(before_relu=True, after_pooling=False)),
    "before ReLU, `use_bias=False`": Run(
        script_layers(before_relu=True, after_pooling=False, use_bias=False)
    ),
}


def report(found):
    yield tables.table(tables.validation_and_test(found), reference=WITH_BIASES)
