"""Does epsilon matter?"""

import numpy as np

import runs
import tables
from runs import Run, layer, script_layers

SEEDS = 5
KERAS, PYTORCH = 0.001, 0.00001  # their defaults
RUNS = {
    f"trained with {epsilon:.0e}": Run(
        script_layers(layer("BatchNormalization", momentum=0.9, epsilon=epsilon))
    )
    for epsilon in (KERAS, PYTORCH)
}


class Epsilons(runs.Measurement):
    """Tests the trained weights with each epsilon: in all layers, and in the first alone.

    And the share of Keras' default in variance + epsilon, by layer: the median over its
    channels.
    """

    settings = {"epsilons": [KERAS, PYTORCH]}

    def on_train_end(self, logs=None):
        norms = runs.norms(self.model)
        trained_with = norms[0].epsilon
        variances = [norm.moving_variance.numpy() for norm in norms]
        self.result = {
            "share": [np.median(KERAS / (KERAS + variance)) for variance in variances],
            "test accuracy": {},
            "in the first layer": {},
        }
        for epsilon in self.settings["epsilons"]:
            for norm in norms:
                norm.epsilon = epsilon
            self.result["test accuracy"][f"{epsilon:.0e}"] = self.test()
            for norm in norms[1:]:
                norm.epsilon = trained_with
            self.result["in the first layer"][f"{epsilon:.0e}"] = self.test()

    def test(self):
        _, test = self.data
        return runs.accuracy(self.model, *test)


MEASUREMENT = Epsilons
