"""Fine-tuning on other data: what should the layers do?"""

import keras
import pandas as pd

import model_batchnorm
import runs
import tables
from runs import Run

SEEDS = 5
RUNS = {"trained on KMNIST": Run(train_images=10_000)}
IMAGES = 200  # digits to fine-tune on
TRAINING = {"epochs": 10, "batch_size": 20, "validation_split": 0}


def train_everything(body):
    pass


def freeze_the_layers(body):
    for layer in norms(body):
        layer.trainable = False


def freeze_the_body(body):
    for layer in body:
        layer.trainable = False


def freeze_all_but_the_averages(body):
    freeze_the_body(body)
    for layer in norms(body):
        layer.trainable = True  # it normalizes by the batch then, and its averages move
        layer.gamma.trainable = layer.beta.trainable = False


def norms(body):
    return [
        layer for layer in body if isinstance(layer, keras.layers.BatchNormalization)
    ]


EVERYTHING = "everything"
FROZEN_LAYERS = "everything but the BatchNormalization layers (`trainable = False`)"
LAST_LAYER = "only the new last layer"
AVERAGES_MOVE = "only the new last layer, but the averages move"
RECIPES = {
    EVERYTHING: train_everything,
    FROZEN_LAYERS: freeze_the_layers,
    LAST_LAYER: freeze_the_body,
    AVERAGES_MOVE: freeze_all_but_the_averages,
}


class FineTuning(runs.Measurement):
    """Trains copies of the network on digits; tests on digits, and on KMNIST again."""

    settings = {"images": IMAGES, **TRAINING}

    def on_train_end(self, logs=None):
        digits, digits_test = model_batchnorm.load_data("digits")
        x, y = model_batchnorm.prepare(digits[0][:IMAGES]), digits[1][:IMAGES]
        x_test, y_test = model_batchnorm.prepare(digits_test[0]), digits_test[1]
        _, kmnist = self.data
        self.result = {}
        for freeze in RECIPES.values():
            copy = keras.models.clone_model(self.model)
            copy.set_weights(self.model.get_weights())
            _, *body, old_last = copy.layers
            freeze(body)
            new_last = keras.layers.Dense(10, activation="softmax")
            tuned = keras.Sequential([keras.Input((28, 28, 1)), *body, new_last])
            tuned.compile(
                optimizer="adam",
                loss="sparse_categorical_crossentropy",
                metrics=["accuracy"],
            )
            tuned.fit(x, y, **TRAINING, verbose=0)
            old = keras.Sequential([keras.Input((28, 28, 1)), *body, old_last])
            old.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
            self.result[freeze.__name__] = {
                "digits": tuned.evaluate(x_test, y_test, verbose=0)[1],
                "KMNIST": old.evaluate(*kmnist, batch_size=250, verbose=0)[1],
            }


MEASUREMENT = FineTuning


def report(found):
    lines = found.iloc[:, 0]
    names = {freeze.__name__: recipe for recipe, freeze in RECIPES.items()}
    tuned = pd.DataFrame([FineTuning.of(line) for line in lines], lines.index)
    tuned = tuned.rename(columns=names)
    before = tables.values(
        pd.DataFrame(dict.fromkeys(RECIPES, lines)),
        "KMNIST test accuracy before",
        lambda line: line["history"]["test_accuracy"][-1],
    )
    after = tables.values(
        tuned, "after, with the old last layer", lambda accuracies: accuracies["KMNIST"]
    )
    digits = tables.values(
        tuned, "digits test accuracy", lambda accuracies: accuracies["digits"]
    )
    differences = {
        f"{of.name}, “{one}” minus “{other}”": (of[one], of[other])
        for of, one, other in (
            (after, FROZEN_LAYERS, EVERYTHING),
            (digits, AVERAGES_MOVE, LAST_LAYER),
        )
    }
    corner = f"what is trained on {IMAGES} digits"
    yield tables.table([before, after, digits], corner, reference=EVERYTHING)
    yield tables.differences(differences)
