"""A run is one training: what determines its result, and where the result is kept."""

import dataclasses
import functools
import hashlib
import json
import math
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import model_batchnorm  # before TensorFlow, for which it sets two variables

import keras  # isort: skip
import tensorflow as tf  # isort: skip

RESULTS = "results.jsonl"
load_data = functools.cache(model_batchnorm.load_data)


def layer(name, **options):
    """Describe a layer of keras.layers."""
    return {name: options}


def residual(layers):
    """Describe layers with a connection around them: their input is added to their output."""
    return {"Residual": {"layers": layers}}


BATCH_NORM = layer("BatchNormalization", momentum=0.9)


def script_layers(
    norm=BATCH_NORM, *, before_relu=False, after_pooling=True, use_bias=True
):
    """List the layers of the script's network, or of one that differs from it.

    norm (None: none) is put in the places of the script's BatchNormalization layers: after
    each ReLU (or before it) and, if after_pooling, after each pooling. It has none of their
    options: name the momentum if it should be theirs, 0.9. The Dense layer with ten outputs
    is not listed; `build` adds it.
    """
    relu = layer("ReLU")
    activation = [norm, relu] if before_relu else [relu, norm]
    pooling = [layer("MaxPooling2D", pool_size=2), norm if after_pooling else None]
    network = [
        layer("Conv2D", filters=32, kernel_size=3, use_bias=use_bias),
        *activation,
        *pooling,
        layer("Conv2D", filters=64, kernel_size=3, use_bias=use_bias),
        *activation,
        *pooling,
        layer("Flatten"),
        layer("Dense", units=256, use_bias=use_bias),
        *activation,
    ]
    return [description for description in network if description]


WITH, WITHOUT = "with Batch Normalization", "without"
# Also without the layers, but with the initialization named.
GLOROT, HE = "without, Keras' initialization", "without, He initialization"
NETWORKS = {WITH: script_layers(), WITHOUT: script_layers(norm=None)}


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that determines a result, except the seed, the versions and the machine."""

    network: list = dataclasses.field(default_factory=script_layers)
    dtype_policy: str = "float32"

    dataset: str = "kmnist"
    train_images: int | None = None  # only the first N; a fifth of them validate
    pooled: bool = False  # training and test images mixed and split again
    largest_pixel: float = 1.0  # the pixels' values go from 0 to this

    optimizer: str = "Adam"
    learning_rate: float = 0.001
    last_learning_rate: float | None = None  # of the last layer, if it has another
    optimizer_momentum: float = 0.0  # that of SGD
    weight_decay: float = 0.0  # of all weights except gamma and beta
    cosine_decay: bool = False  # of the learning rate, to 0 at the end
    epochs: int = 5
    batch_size: int = 250


def load(run):
    """Return the run's (x_train, y_train), (x_test, y_test), prepared for the network."""
    (x_train, y_train), (x_test, y_test) = load_data(run.dataset)
    if run.pooled:
        x, y = np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test])
        order = np.random.default_rng(0).permutation(len(x))
        train, test = np.split(order, [len(x_train)])
        (x_train, y_train), (x_test, y_test) = (x[train], y[train]), (x[test], y[test])
    x_train, y_train = x_train[: run.train_images], y_train[: run.train_images]
    x_train = model_batchnorm.prepare(x_train) * run.largest_pixel
    x_test = model_batchnorm.prepare(x_test) * run.largest_pixel
    return (x_train, y_train), (x_test, y_test)


def split(data):
    """Return (x, y) of the images that are trained on, and (x, y) of those that validate.

    data is what load() returns.
    """
    (x_train, y_train), _ = data
    trained_on = model_batchnorm.num_training(len(x_train))
    return (
        (x_train[:trained_on], y_train[:trained_on]),
        (x_train[trained_on:], y_train[trained_on:]),
    )


def build(run):
    """Build the run's network, not yet compiled."""
    keras.config.set_dtype_policy(run.dtype_policy)
    inputs = keras.Input((28, 28, 1))
    features = apply(run.network, inputs)
    last = keras.layers.Dense(10, activation="softmax", dtype="float32")
    return keras.Model(inputs, last(features))


def apply(network, x):
    """Apply layers, as layer() and residual() describe them, one after the other."""
    for description in network:
        ((name, options),) = description.items()
        if name == "Residual":
            y = apply(options["layers"], x)
            if y.shape != x.shape:  # every second pixel, without any weights
                x = keras.layers.MaxPooling2D(1, strides=2, padding="same")(x)
            x = keras.layers.Add()([x, y])
        else:
            x = getattr(keras.layers, name)(**options)(x)
    return x


def optimizer(run, model, steps):
    """Return the run's optimizer, for a training of so many steps."""
    rate = run.learning_rate
    if run.cosine_decay:
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    options = {"weight_decay": run.weight_decay or None}
    if run.optimizer == "SGD":
        options["momentum"] = run.optimizer_momentum
    made = getattr(keras.optimizers, run.optimizer)(rate, **options)
    made.exclude_from_weight_decay(var_names=["gamma", "beta"])
    if run.last_learning_rate is not None:
        last = [of.value for of in model.layers[-1].trainable_weights]
        update_step = made.update_step

        def update(gradient, variable, learning_rate):
            if any(variable is of for of in last):  # TensorFlow's variables
                learning_rate = run.last_learning_rate
            update_step(gradient, variable, learning_rate)

        made.update_step = update
    return made


def norms(model):
    """Return a model's BatchNormalization layers."""
    kind = keras.layers.BatchNormalization
    return [layer for layer in model.layers if isinstance(layer, kind)]


def kernel_lengths(model):
    """Return the length of each kernel, all its weights as one vector."""
    return [
        float(np.linalg.norm(layer.kernel.numpy()))
        for layer in model.layers
        if hasattr(layer, "kernel")
    ]


def move_averages(model, x, batches, momentum=None):
    """Move the moving averages by training batches of 250, without training.

    Without a momentum, they become the plain means of the batches' means and variances. A
    momentum stays set.
    """
    order = np.random.default_rng(0).permutation(len(x))
    for number in range(min(batches, max(1, len(x) // 250))):
        for norm in norms(model):
            norm.momentum = number / (number + 1) if momentum is None else momentum
        model(x[order[250 * number :][:250]], training=True)


def accuracy(model, x, y, batch_size=250, training=False):
    """Return the accuracy of a model as it is now, in the middle of a training, too.

    (Keras' evaluate() would use what it once traced, and reset the training's metrics.)
    """
    predict = tf.function(lambda batch: model(batch, training=training))
    predicted = [
        np.argmax(predict(x[at : at + batch_size]), axis=1)
        for at in range(0, len(x), batch_size)
    ]
    return float(np.mean(np.concatenate(predicted) == y))


class Measurement(keras.callbacks.Callback):
    """Measures something of a network, in the training or after it, into self.result.

    It is a callback of Keras, so it measures in on_train_begin(), on_epoch_end(),
    on_train_end() and so on. It does not change the training: what it changes before the
    end, it puts back, and it draws none of Keras' random numbers.
    """

    settings = {}  # what determines the result, besides the run's settings
    at_the_end = True  # False: a longer run has the same result
    result = None  # lists, dicts, numbers and text

    def __init__(self, data):
        super().__init__()
        self.data = data  # as load() returns it

    @classmethod
    def key(cls):
        """Return what its results are found by in a line's "measured".

        If you rename the class or its file, its results are no longer found.
        """
        name = f"{cls.__module__.removeprefix('questions.')}.{cls.__name__}"
        return f"{name} {json.dumps(cls.settings)}" if cls.settings else name

    @classmethod
    def of(cls, line):
        """Return the result in a line."""
        return line["measured"][cls.key()]


def make(run, seed, measurement=None):
    """Make a run; return its history, and what a subclass of Measurement measured."""
    data = (x_train, y_train), test = load(run)
    measuring = [measurement(data)] if measurement else []
    # Unlike the script, and as from the beginning: it draws other random numbers.
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    model = build(run)
    model_batchnorm.use_fused_kernel(model)
    trained_on = model_batchnorm.num_training(len(x_train))
    steps = math.ceil(trained_on / run.batch_size)
    model.compile(
        optimizer=optimizer(run, model, steps * run.epochs),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=16,  # a little faster; callbacks are called after so many
    )

    def test_epoch(epoch, logs):  # Keras' History, the last callback, keeps these, too
        logs["test_loss"], logs["test_accuracy"] = model.evaluate(
            *test, batch_size=250, verbose=0
        )

    tested = keras.callbacks.LambdaCallback(on_epoch_end=test_epoch)
    history = model.fit(
        x_train,
        y_train,
        batch_size=run.batch_size,
        epochs=run.epochs,
        validation_split=model_batchnorm.VALIDATION_SPLIT,
        callbacks=[tested, *measuring],
        verbose=0,
    )
    return {
        "history": history.history,
        "measured": {kind.key(): kind.result for kind in measuring},
    }


def read(file):
    """Return the lines of a file of results, with a Run as their "run".

    A network's layers stand in a line of their own, before the first run that has it.
    """
    networks, lines = {}, []
    for text in complete_lines(file):
        line = json.loads(text)
        if "layers" in line:
            networks[line["network"]] = line["layers"]
        else:
            settings = line["run"]
            settings["network"] = networks[settings["network"]]
            lines.append(line | {"run": Run(**settings)})
    return lines


def complete_lines(file):
    """Return the lines of a file, but not what a killed process left of its last line."""
    text = file.read_text("utf-8") if file.exists() else ""
    return text.rpartition("\n")[0].splitlines()


def answers(made, asked, measurement=None):
    """Return whether a run answers for another one, and for what is measured in it.

    A longer run of the same settings has the same first epochs, unless its learning rate
    depends on the number of epochs.
    """
    if made.epochs > asked.epochs:
        if asked.cosine_decay or (measurement and measurement.at_the_end):
            return False
        made = dataclasses.replace(made, epochs=asked.epochs)
    return made == asked


def find(lines, run, seed, measurement=None):
    """Return the first line that answers for a run, or None; its history is cut to the run's."""
    for line in lines:
        if (
            line["seed"] == seed
            and answers(line["run"], run, measurement)
            and (measurement is None or measurement.key() in line["measured"])
        ):
            history = line["history"].items()
            return line | {"history": {name: of[: run.epochs] for name, of in history}}
    return None


def add(file, run, seed, measurement=None):
    """Make a run and append its line to a file of results."""
    begin = time.process_time()
    results = make(run, seed, measurement)
    layers = json.dumps(run.network)
    network = hashlib.sha256(layers.encode()).hexdigest()[:8]
    line = {
        "run": dataclasses.asdict(run) | {"network": network},
        "seed": seed,
        **rounded(results),
        "minutes": rounded((time.process_time() - begin) / 60),  # CPU time
        "machine": machine(),
        "commit": commit(),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }
    header = f'{{"network": "{network}", "layers": {layers}}}'
    complete = complete_lines(file)
    new = [json.dumps(line)] if header in complete else [header, json.dumps(line)]
    if file.exists() and not file.read_bytes().endswith(b"\n"):
        file.write_text("".join(f"{of}\n" for of in complete), "utf-8", newline="\n")
    with file.open("a", encoding="utf-8", newline="\n") as lines:
        lines.write("".join(f"{of}\n" for of in new))


def rounded(value):
    """Return a value as JSON keeps it: numbers with five digits, and NaN as null."""
    return json.loads(
        json.dumps(value, default=lambda array: array.tolist()),
        parse_float=lambda digits: float(f"{float(digits):.5g}"),
        parse_constant=lambda name: None,
    )


def machine():
    """Return the processor, what it computes with, and the number of cores in use."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    found = dict(re.findall(r"^(model name|flags)\s*: (.+)$", text, re.M))
    name = found.get("model name") or platform.processor() or platform.machine()
    flags = found.get("flags", "").split()
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16") if flag in flags]
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()
    return f"{name} ({', '.join(flags) or 'unknown'}), cores: {cores}"


@functools.cache
def commit():
    """Return the commit that is checked out, or "unknown" outside a clone."""
    command = ["git", "describe", "--always", "--exclude=*"]
    try:
        result = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    except OSError:  # there is no git
        return "unknown"
    return result.stdout.strip() or "unknown"
