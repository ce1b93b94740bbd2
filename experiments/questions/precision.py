"""Does mixed precision cost accuracy?"""

import tables
from runs import Run

SEEDS = 3
RUNS = {
    policy: Run(dtype_policy=policy, epochs=10)
    for policy in ("float32", "mixed_bfloat16")
}


def report(found):
    yield tables.compare(tables.validation_and_test(found), "mixed_bfloat16", "float32")
