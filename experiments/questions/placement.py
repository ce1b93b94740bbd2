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
