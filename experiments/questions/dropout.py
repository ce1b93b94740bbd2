"""Does it work together with dropout?"""

import tables
from runs import Run, layer, script_layers

SEEDS = 3
SCRIPT, WITHOUT = script_layers(), script_layers(norm=None)
NONE, NEITHER = "Batch Normalization, no dropout", "neither"
RUNS = {NONE: Run(), NEITHER: Run(WITHOUT)}
for rate in 0.2, 0.5:
    dropout = layer("Dropout", rate=rate)
    RUNS |= {
        f"dropout {rate} after the last BatchNormalization": Run([*SCRIPT, dropout]),
        f"dropout {rate} before the last BatchNormalization": Run(
            [*SCRIPT[:-1], dropout, SCRIPT[-1]]
        ),
        f"dropout {rate} alone": Run([*WITHOUT, dropout]),
    }


WITH_IT = [label for label in RUNS if "BatchNormalization" in label]
ALONE = [label for label in RUNS if "alone" in label]


def report(found):
    columns = tables.validation_and_test(found)
    yield tables.table([of[[NONE, *WITH_IT]] for of in columns], reference=NONE)
    yield tables.table([of[[NEITHER, *ALONE]] for of in columns], reference=NEITHER)
