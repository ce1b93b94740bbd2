"""Fine-tuning under another domain: what should the layers do?"""

import keras

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
KMNIST_AFTER = "after, with the old last layer"
DIGITS = "digits test accuracy"


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
            *body, old_last = copy.layers
            freeze(body)
            new_last = keras.layers.Dense(10, activation="softmax")
            tuned = keras.Sequential([keras.Input((28, 28, 1)), *body, new_last])
            model_batchnorm.train(tuned, x, y, **TRAINING, verbose=0)
            old = keras.Sequential([keras.Input((28, 28, 1)), *body, old_last])
            old.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
            self.result[freeze.__name__] = {
                "digits": tuned.evaluate(x_test, y_test, verbose=0)[1],
                "KMNIST": old.evaluate(*kmnist, batch_size=250, verbose=0)[1],
            }


MEASUREMENT = FineTuning


def report(found):
    (lines,) = found.values()
    by_recipe = {
        recipe: {
            seed: FineTuning.of(line)[freeze.__name__]
            | {"before": line["history"]["test_accuracy"][-1]}
            for seed, line in lines.items()
        }
        for recipe, freeze in RECIPES.items()
    }
    columns = {
        "KMNIST test accuracy before": lambda accuracies: accuracies["before"],
        KMNIST_AFTER: lambda accuracies: accuracies["KMNIST"],
        DIGITS: lambda accuracies: accuracies["digits"],
    }
    values = tables.frame(by_recipe, columns)
    values.index.names = [f"what is trained on {IMAGES} digits", "seed"]
    differences = [
        tables.compared(
            values[column], {f"{column}, “{pair[0]}” minus “{pair[1]}”": pair}
        )
        for column, pair in (
            (KMNIST_AFTER, (FROZEN_LAYERS, EVERYTHING)),
            (DIGITS, (AVERAGES_MOVE, LAST_LAYER)),
        )
    ]
    return tables.table(values, reference=EVERYTHING) + "\n\n" + "\n".join(differences)
