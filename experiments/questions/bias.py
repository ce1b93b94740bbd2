"""Is a bias still needed?"""

import tables
from runs import Run, script_layers

SEEDS = 3
WITH_BIASES, WITHOUT_BIASES = "with biases", "`use_bias=False`"
RUNS = {
    WITH_BIASES: Run(script_layers(before_relu=True, after_pooling=False)),
    WITHOUT_BIASES: Run(
        script_layers(before_relu=True, after_pooling=False, use_bias=False)
    ),
}


def report(found):
    yield tables.compare(tables.validation_and_test(found), WITHOUT_BIASES, WITH_BIASES)
