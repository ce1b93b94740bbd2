"""Measure this project's way of training against the straightforward one, side by side.

    python tests/benchmark.py

Three ways: the straightforward one, with Keras' own BatchNormalization layers in float32; this
project's; and this project's with --dtype-policy mixed_bfloat16. Their epochs, training and
validation on images that are prepared already, alternate in one process, so that all see the same
machine. Peak memory is that of a process of its own for each, which prepares the images, trains for
an epoch and evaluates: there the straightforward way reshapes, converts and divides the images in
three steps and evaluates in Keras' default batches. The images are noise: speed does not depend on
what they show.
"""

import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np

import model_batchnorm

WAYS = "straightforward", "this project", "with mixed_bfloat16"
EPOCHS = 5  # of each way and size that are measured, after one that is not
BATCH_SIZE = 250


def stock_twin(model):
    """Return the same network of Keras' own layers, with the same weights."""
    stock = keras.layers.BatchNormalization
    twin = keras.Sequential([keras.Input(model.input_shape[1:])] + [
        (stock if isinstance(layer, stock) else type(layer)).from_config(layer.get_config())
        for layer in model.layers])
    twin.set_weights(model.get_weights())
    return twin


def prepare(way, images):
    """Bring uint8 images to the network's input: float32 in [0, 1] with a channel axis."""
    if way != WAYS[0]:
        return model_batchnorm.prepare(images)
    images = images.reshape(-1, 28, 28, 1)
    images = images.astype("float32")
    images = images / 255
    return images


def build(way):
    """Build and compile the network."""
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy("mixed_bfloat16" if way == WAYS[2] else "float32")
    model = model_batchnorm.build_model((28, 28, 1), 10)
    if way == WAYS[0]:
        model = stock_twin(model)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def noise(number):
    """Random images and labels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (number, 28, 28), "uint8"), rng.integers(0, 10, number)


def epoch(model, x, y):
    """Train for an epoch, validation included; return the seconds of (CPU, wall) time."""
    cpu, wall = time.process_time(), time.perf_counter()
    model.fit(x, y, batch_size=BATCH_SIZE, validation_split=0.2, verbose=0)
    return time.process_time() - cpu, time.perf_counter() - wall


def seconds(number):
    """Return for each way the (CPU, wall) seconds of its epochs on a number of images."""
    images, y = noise(number)
    x = model_batchnorm.prepare(images)
    models = {way: build(way) for way in WAYS}
    for model in models.values():
        epoch(model, x, y)  # traces the graph
    measured = {way: [] for way in WAYS}
    for _ in range(EPOCHS):
        for way, model in models.items():
            measured[way].append(epoch(model, x, y))
    return measured


def peak_memory(way, number):
    """Return the peak memory, in GB, of a process that trains and evaluates one way."""
    output = subprocess.run([sys.executable, __file__, way, str(number)], check=True, text=True,
                            stdout=subprocess.PIPE).stdout
    return float(output.split()[-1])


def use_memory(way, number):
    """What the process of peak_memory does: train, evaluate, print its peak memory in GB."""
    import resource

    def load(number):
        images, y = noise(number)
        return prepare(way, images), y  # what is prepared here, the caller does not keep

    (x, y), (x_test, y_test) = load(number), load(10_000)
    model = build(way)
    epoch(model, x, y)
    batch_size = None if way == WAYS[0] else BATCH_SIZE
    model.evaluate(x_test, y_test, batch_size=batch_size, verbose=0)
    unit = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9)


def processor():
    """The processor's name and whether it has bfloat16 arithmetic, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    names = [line.partition(": ")[2] for line in text.splitlines() if line.startswith("model name")]
    found = [flag for flag in ("avx512_bf16", "amx_bf16", "bf16") if f" {flag} " in f"{text} "]
    known = (f"with bfloat16 arithmetic ({found[0]})" if found
             else "without bfloat16 arithmetic: mixed_bfloat16 is of no use here" if text
             else "not known to have bfloat16 arithmetic")
    return f"{names[0] if names else platform.processor() or platform.machine()}, {known}"


def main():
    import tensorflow

    print(f"{processor()}; {os.cpu_count()} cores; {platform.system()}; Python"
          f" {platform.python_version()}, TensorFlow {tensorflow.__version__}, Keras"
          f" {keras.__version__}; batch size {BATCH_SIZE}, {EPOCHS} epochs each, alternating\n")
    print(f"| an epoch, validation included | {' | '.join(WAYS)} |")
    print("|---" * (1 + len(WAYS)) + "|")

    def row(label, unit, values):
        cells = [f"{value:.2f} {unit} ({value / values[0]:.2f})" for value in values]
        print(f"| {label} | {' | '.join(cells)} |", flush=True)

    sizes, best = (10_000, 60_000), {}
    for number in sizes:
        row(f"{number:,} images, peak memory", "GB", [peak_memory(way, number) for way in WAYS])
    for number in sizes:
        measured = seconds(number)
        for kind, name in enumerate(("CPU", "wall")):
            for summary, of in ("best", min), ("median", statistics.median):
                values = [of(times[kind] for times in measured[way]) for way in WAYS]
                row(f"{number:,} images, {name} time, {summary}", "s", values)
                best[number, name, summary] = values
    row("growth of best CPU time, 10,000 to 60,000 images", "x", [
        large / small for small, large in zip(
            best[10_000, "CPU", "best"], best[60_000, "CPU", "best"])])


if __name__ == "__main__":
    if len(sys.argv) == 3:
        use_memory(sys.argv[1], int(sys.argv[2]))
    else:
        main()
