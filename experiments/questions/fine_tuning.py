"""Fine-tuning on other data: should the layers be frozen?"""

import keras
import pandas as pd

import model_batchnorm
import runs
import tables
from runs import Run

SEEDS = 5
RUNS = {"trained on KMNIST": Run(train_images=10_000)}
SIZES = 200, 1_000  # digits to fine-tune on
TRAINING = {"epochs": 10, "batch_size": 20, "validation_split": 0}


def everything(body):
    return body


def frozen(body):
    for norm in runs.norms(body):
        norm.trainable = False
    return body


def called_in_inference_mode(body):
    inputs = keras.Input(body.input_shape[1:])
    return keras.Model(inputs, body(inputs, training=False))


def last_layer(body):
    body.trainable = False
    return body


def last_layer_and_averages(body):
    last_layer(body)
    for norm in runs.norms(body):
        norm.trainable = True  # it normalizes by the batch then, and its averages move
        norm.gamma.trainable = norm.beta.trainable = False
    return body


EVERYTHING = "everything"
FROZEN = "all but BatchNormalization (`trainable = False`)"
CALLED = "everything, old network called with `training=False`"
LAST_LAYER = "the new last layer"
AVERAGES_MOVE = "the new last layer, but the averages move"
RECIPES = {
    EVERYTHING: everything,
    FROZEN: frozen,
    CALLED: called_in_inference_mode,
    LAST_LAYER: last_layer,
    AVERAGES_MOVE: last_layer_and_averages,
}


class FineTuning(runs.Measurement):
    """Trains copies of the network on digits; tests on digits, and on KMNIST again."""

    settings = {"sizes": SIZES, **TRAINING}

    def on_train_end(self, logs=None):
        (x, y), (x_test, y_test) = model_batchnorm.load_data("digits")
        digits = model_batchnorm.prepare(x), y
        digits_test = model_batchnorm.prepare(x_test), y_test
        self.result = {
            f"{size}, {recipe.__name__}": self.tune(size, recipe, digits, digits_test)
            for size in self.settings["sizes"]
            for recipe in RECIPES.values()
        }

    def tune(self, size, recipe, digits, digits_test):
        _, kmnist = self.data
        copy = keras.models.clone_model(self.model)
        copy.set_weights(self.model.get_weights())
        body = keras.Model(copy.inputs[0], copy.layers[-2].output)
        tuned = keras.Sequential(
            [
                keras.Input(body.input_shape[1:]),
                recipe(body),
                keras.layers.Dense(10, activation="softmax"),
            ]
        )
        tuned.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        before = self.averages(copy)
        tuned.fit(*(of[:size] for of in digits), **TRAINING, verbose=0)
        return {
            "digits": tuned.evaluate(*digits_test, verbose=0)[1],
            "KMNIST": runs.accuracy(copy, *kmnist),  # with the old last layer
            "averages moved": self.averages(copy) != before,
        }

    def averages(self, model):
        return [norm.moving_variance.numpy().tolist() for norm in runs.norms(model)]


MEASUREMENT = FineTuning


def tuned(found, size):
    """Return what FineTuning measured with so many digits: a column for each recipe."""
    rows = {
        recipe: [
            FineTuning.of(line)[f"{size}, {function.__name__}"]
            for line in found.iloc[:, 0]
        ]
        for recipe, function in RECIPES.items()
    }
    return pd.DataFrame(rows, found.index)


def accuracies(found, size):
    """Return the accuracies on KMNIST, with the old last layer, and on the digits."""
    names = {
        "KMNIST": "KMNIST test accuracy, old last layer",
        "digits": "digits test accuracy",
    }
    results = tuned(found, size)
    return [
        tables.values(results, name, lambda of, key=key: of[key])
        for key, name in names.items()
    ]


def by_recipe(found, size):
    """Return a table of the recipes, with so many digits."""
    corner = f"what is trained, on {size} digits"
    return tables.table(accuracies(found, size), corner, reference=EVERYTHING)


def report(found):
    yield by_recipe(found, 200)
    moved = tuned(found, SIZES[0]).map(lambda of: of["averages moved"]).all()
    yield "The moving averages moved in: " + "; ".join(moved[moved].index) + "."


def details(found):
    yield by_recipe(found, 1_000)
    pairs = {
        "frozen minus everything": (FROZEN, EVERYTHING),
        "frozen minus the new last layer alone": (FROZEN, LAST_LAYER),
    }
    for size in SIZES:
        for series in accuracies(found, size):
            name = f"{series.name}, {size} digits"
            yield tables.differences(series.rename(name), pairs)
