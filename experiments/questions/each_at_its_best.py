"""Do the layers still help with a better learning rate that decays?"""

import tables
from runs import NETWORKS, WITH, WITHOUT, Run

SEEDS = 5
RUNS = {
    name: Run(network, learning_rate=0.003, cosine_decay=True, epochs=25)
    for name, network in NETWORKS.items()
}


def report(found):
    columns = tables.validation_and_test(found)
    yield tables.table(columns)
    yield "The difference that the layers make:"
    yield tables.differences({of.name: (of[WITH], of[WITHOUT]) for of in columns})
