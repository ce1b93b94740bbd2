"""Measure this project's way of training against the straightforward one, side by side.

    python experiments/speed.py

Three ways: the straightforward one, Keras' own BatchNormalization as it is, in float32; this
project's, with the fused kernel; and this project's with --dtype-policy mixed_bfloat16. Their
epochs, training and validation, alternate in one process, so that all see the same machine. Peak
memory is that of a process of its own for each way, which prepares the images, trains for an epoch
and evaluates: there the straightforward way reshapes, converts and divides the images in three
steps and evaluates in Keras' default batches. The images are noise: speed does not depend on what
they show.

A second table has this project's way with the layers in other places, and with none.
"""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import measure
import networks
import numpy as np
import tensorflow as tf

import model_batchnorm

WAYS = "straightforward", "this project", "with mixed_bfloat16"
PLACES = {"no layers": "without", "three, after ReLU": "after ReLU",
          "three, before ReLU": "before ReLU", "five, as in the script": "with"}
SIZES = 10_000, 60_000  # images
EPOCHS = 5  # of each way and size that are measured, after one that is not
BATCH_SIZE = 250


def noise(number):
    """Return random images and labels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (number, 28, 28), "uint8"), rng.integers(0, 10, number)


def prepare(way, images):
    """Bring uint8 images to the network's input: float32 in [0, 1] with a channel axis."""
    if way != "straightforward":
        return np.divide(images[..., np.newaxis], 255, dtype="float32")
    images = images.reshape(-1, 28, 28, 1)
    images = images.astype("float32")
    images = images / 255
    return images


def build(way="this project", network="with"):
    """Build and compile a network."""
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy("mixed_bfloat16" if "bfloat16" in way else "float32")
    function = networks.BUILD.get(network, model_batchnorm.build_model)
    model = function((28, 28, 1), 10, network != "without", 0.9)
    if way != "straightforward":
        model_batchnorm.use_fused_kernel(model)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def epoch(model, x, y):
    """Train for an epoch, validation included; return the seconds of (CPU, wall) time."""
    cpu, wall = time.process_time(), time.perf_counter()
    model.fit(x, y, batch_size=BATCH_SIZE, validation_split=0.2, verbose=0)
    return time.process_time() - cpu, time.perf_counter() - wall


def seconds(models, number):
    """Return for each of the models the (CPU, wall) seconds of its epochs on a number of images."""
    images, y = noise(number)
    x = prepare("this project", images)
    for model in models:
        epoch(model, x, y)  # traces the graph
    measured = [[] for _ in models]
    for _ in range(EPOCHS):
        for times, model in zip(measured, models):
            times.append(epoch(model, x, y))
    return measured


def peak_memory(way, number):
    """Return the peak memory, in GB, of a process that trains and evaluates one way."""
    output = subprocess.run([sys.executable, __file__, way, str(number)], check=True, text=True,
                            stdout=subprocess.PIPE).stdout
    return float(output.split()[-1])


def use_memory(way, number):
    """Do what the process of peak_memory does: train, evaluate, print the peak memory in GB."""
    import resource  # not on Windows

    def load(number):
        images, y = noise(number)
        return prepare(way, images), y  # what is prepared here, the caller does not keep

    (x, y), (x_test, y_test) = load(number), load(10_000)
    model = build(way)
    epoch(model, x, y)
    batch_size = None if way == "straightforward" else BATCH_SIZE
    model.evaluate(x_test, y_test, batch_size=batch_size, verbose=0)
    unit = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9)


def bfloat16():
    """Say whether the processor has bfloat16 arithmetic, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    words = cpuinfo.read_text().split() if cpuinfo.exists() else []
    found = sorted({"avx512_bf16", "amx_bf16", "bf16"}.intersection(words))
    return f"bfloat16 arithmetic: {', '.join(found) or 'none that is known of'}"


def print_row(label, unit, values):
    """Print a row of a table: each value and, in brackets, its ratio to the first."""
    cells = [f"{value:.2f} {unit} ({value / values[0]:.2f})" for value in values]
    print(f"| {label} | {' | '.join(cells)} |", flush=True)


def print_head(labels):
    """Print the head of a table."""
    print(f"\n| an epoch, validation included | {' | '.join(labels)} |")
    print("|---" * (1 + len(labels)) + "|")


def print_seconds(models, number):
    """Print the rows for the models' epochs on a number of images."""
    measured = seconds(models, number)
    for kind, name in enumerate(("CPU", "wall")):
        # The best, for what else the machine does only ever adds to it.
        values = [min(epoch[kind] for epoch in epochs) for epochs in measured]
        print_row(f"{number:,} images, {name} time", "s", values)


def main():
    print(f"{measure.machine()}; {bfloat16()}; {platform.system()}; Python"
          f" {platform.python_version()}, TensorFlow {tf.__version__}, Keras {keras.__version__};"
          f" batch size {BATCH_SIZE}, the best of {EPOCHS} epochs each, alternating")
    print_head(WAYS)
    # Memory first: on Linux a process' peak is at least what its parent uses when it starts it.
    for number in SIZES if os.name == "posix" else ():
        print_row(f"{number:,} images, peak memory", "GB",
                  [peak_memory(way, number) for way in WAYS])
    for number in SIZES:
        print_seconds([build(way) for way in WAYS], number)
    print_head(PLACES)
    print_seconds([build(network=network) for network in PLACES.values()], SIZES[0])


if __name__ == "__main__":
    if len(sys.argv) == 3:
        use_memory(sys.argv[1], int(sys.argv[2]))
    else:
        main()
