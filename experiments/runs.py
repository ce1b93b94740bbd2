"""A run: one training, all that determines its result, and where its result is kept."""

import dataclasses
import functools
import json
import math
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import model_batchnorm  # before Keras, whose backend it chooses

import keras  # isort: skip
import tensorflow as tf  # isort: skip

keras.config.set_floatx("float32")  # whatever a user's keras.json says, as in main()


def layer(name, **options):
    """Describe a layer of keras.layers; a misspelt name or option is an error."""
    getattr(keras.layers, name)(**options)
    return {name: options}


load_data = functools.cache(model_batchnorm.load_data)
BATCH_NORM = layer("BatchNormalization", momentum=0.9)


def script_layers(
    norm=BATCH_NORM,
    *,
    before_relu=False,
    after_pooling=True,
    use_bias=True,
    before_last_norm=None,
    after_last_norm=None,
):
    """List the layers of the script's network, or of one that differs from it.

    norm (None: none) stands in the places of the script's BatchNormalization layers: after
    each ReLU (or before it) and, if after_pooling, after each pooling. The last two are
    layers that are put before and after the last of them. The Dense layer with ten outputs
    is not listed; `build` adds it.
    """

    def activation(*norms):
        relu = layer("ReLU")
        return [*norms, relu] if before_relu else [relu, *norms]

    pooling = [layer("MaxPooling2D", pool_size=2), norm if after_pooling else None]
    network = [
        layer("Conv2D", filters=32, kernel_size=3, use_bias=use_bias),
        *activation(norm),
        *pooling,
        layer("Conv2D", filters=64, kernel_size=3, use_bias=use_bias),
        *activation(norm),
        *pooling,
        layer("Flatten"),
        layer("Dense", units=256, use_bias=use_bias),
        *activation(before_last_norm, norm, after_last_norm),
    ]
    return [description for description in network if description]


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that determines a result, but the random seed, versions and machine."""

    network: list = dataclasses.field(default_factory=script_layers)
    dtype_policy: str = "float32"

    dataset: str = "kmnist"
    train_images: int | None = None  # the first so many, a fifth of them to validate
    pooled: bool = False  # training and test images mixed and split again
    largest_pixel: float = 1.0  # the images' values go from 0 to this

    optimizer: str = "Adam"
    learning_rate: float = 0.001
    optimizer_momentum: float = 0.0  # that of SGD
    cosine_decay: bool = False  # of the learning rate, to 0 at the end
    epochs: int = 5
    batch_size: int = 250

    def __post_init__(self):
        # A misspelt value is an error here, before any run is made.
        model_batchnorm.LOADERS[self.dataset]
        keras.DTypePolicy(self.dtype_policy)
        getattr(keras.optimizers, self.optimizer)


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


def num_training(x_train, validation_split=0.2):
    """Return how many of the images are trained on; Keras validates with the others."""
    return int(len(x_train) * (1 - validation_split))


def build(run):
    """Build the run's network, not yet compiled."""
    with model_batchnorm.keras_defaults(run.dtype_policy):
        listed = [
            getattr(keras.layers, name)(**options)
            for description in run.network
            for name, options in description.items()
        ]
        last = keras.layers.Dense(10, activation="softmax", dtype="float32")
        return keras.Sequential([keras.Input((28, 28, 1)), *listed, last])


def optimizer(run, steps):
    """Return the run's optimizer, for a training of so many steps."""
    rate = run.learning_rate
    if run.cosine_decay:
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    momentum = run.optimizer_momentum  # an error with optimizers that have none
    options = {"momentum": momentum} if momentum else {}
    return getattr(keras.optimizers, run.optimizer)(rate, **options)


class TestAccuracy(keras.callbacks.Callback):
    """Tests the network after every epoch."""

    def __init__(self, x_test, y_test):
        super().__init__()
        self.x_test, self.y_test = x_test, y_test
        self.history = {"test_loss": [], "test_accuracy": []}

    def on_epoch_end(self, epoch, logs=None):
        results = self.model.evaluate(
            self.x_test, self.y_test, batch_size=250, verbose=0
        )
        for values, value in zip(self.history.values(), results):
            values.append(value)


class Measurement(keras.callbacks.Callback):
    """Measures something of a network, in the training or after it, into self.result.

    It changes neither the training nor the weights; so before the training's end it draws
    none of Keras' random numbers.
    """

    settings = {}  # what determines the result, beside the run's settings
    result = None  # what json can write

    def __init__(self, data):
        super().__init__()
        self.data = data  # as load() returns it

    @classmethod
    def key(cls):
        """Return what its results are found by in a line's "measured"."""
        name = f"{cls.__module__.removeprefix('questions.')}.{cls.__name__}"
        return f"{name} {json.dumps(cls.settings)}" if cls.settings else name

    @classmethod
    def of(cls, line):
        """Return the result in a line."""
        return line["measured"][cls.key()]


def make(run, seed, measurements=()):
    """Make a run; return its results: history, number of parameters, and "measured".

    measurements are subclasses of Measurement, by their keys.
    """
    data = (x_train, y_train), test = load(run)
    measuring = {name: kind(data) for name, kind in dict(measurements).items()}
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    model = build(run)
    tested = TestAccuracy(*test)
    steps = math.ceil(num_training(x_train) / run.batch_size)
    with model_batchnorm.fused_batch_norm(model):
        history = model_batchnorm.train(
            model,
            x_train,
            y_train,
            optimizer=optimizer(run, steps * run.epochs),
            epochs=run.epochs,
            batch_size=run.batch_size,
            callbacks=[tested, *measuring.values()],
            verbose=0,
        )
    return {
        "history": history.history | tested.history,
        "parameters": model.count_params(),
        "measured": {name: kind.result for name, kind in measuring.items()},
    }


class Results:
    """The file of results: a line for each run and seed, found by the settings themselves."""

    def __init__(self, file):
        self.file = Path(file)

    def lines(self):
        """Return the lines by (settings, seed); of two for the same, the later one."""
        text = self.file.read_text("utf-8") if self.file.exists() else ""
        lines = {}
        for number, line in enumerate(text.splitlines(), 1):
            try:
                line = json.loads(line)
            except ValueError as error:
                sys.exit(
                    f"{self.file}, line {number} is damaged ({error}): delete the line,"
                    " and its run is made again."
                )
            lines[settings(line["run"]), line["seed"]] = line
        return lines

    def make(self, run, seed, measurements):
        """Make a run and write its line."""
        begin = time.process_time()
        results = make(run, seed, measurements)
        keras.utils.clear_session()
        line = {
            "run": dataclasses.asdict(run),
            "seed": seed,
            **rounded(results),
            "minutes": rounded((time.process_time() - begin) / 60),  # of one core
            "machine": machine(),
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        }
        with self.file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")


def settings(run):
    """Return a run's settings as text: two runs with the same are the same.

    A line that was written before Run had a field stands for the field's default.
    """
    values = dataclasses.asdict(run if isinstance(run, Run) else Run(**run))
    for field in dataclasses.fields(Run):
        if field.type is float:  # 255 is the same as 255.0
            values[field.name] = float(values[field.name])
    return json.dumps(values, sort_keys=True)


def rounded(value):
    """Return a value for JSON: numbers with five digits, and no number as null."""
    if isinstance(value, dict):
        return {str(key): rounded(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


def machine():
    """Return the processor, what it computes with, and the number of cores in use."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    found = dict(line.partition(":")[::2] for line in text.splitlines())
    found = {key.strip(): value.strip() for key, value in found.items()}
    name = found.get("model name") or platform.processor() or platform.machine()
    flags = found.get("flags", "").split()
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16") if flag in flags]
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()
    return f"{name} ({', '.join(flags) or 'unknown'}), cores: {cores}"
