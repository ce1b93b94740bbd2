"""Does it still help with a better learning rate that decays?"""

import tables
from runs import NETWORKS, WITH, WITHOUT, Run

SEEDS = 5
RUNS = {
    name: Run(network, learning_rate=0.003, cosine_decay=True, epochs=25)
    for name, network in NETWORKS.items()
}


def report(found):
    yield tables.compare(tables.validation_and_test(found), WITH, WITHOUT)
