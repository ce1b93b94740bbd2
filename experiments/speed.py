"""Measure what the fused kernel saves, and what the layers cost, side by side.

    python experiments/speed.py

Within a table, the networks take turns in one process, an epoch each, with validation, so
that all of them meet the same machine. The first epoch of each, which traces its graph,
does not count. The images are noise: speed does not depend on what they show. TensorFlow's
oneDNN can only be chosen when a process starts, so the processes with it and without it
alternate. Every single time goes into speed.json, under the machine that it was measured
on. README.md gets the best CPU and wall time, because whatever else the machine does can
only add to them, and the median CPU time.
"""

import json
import multiprocessing
import os
import platform
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd

import run
import runs
import tables
from runs import Run, keras, model_batchnorm, script_layers, tf

EPOCHS = 5
ROUNDS = 2  # of processes
IMAGES = 10_000
STEPS = 1, 8, 16, 32  # for each call from Python; the script takes 1
KERAS, FUSED, NEITHER = "Keras' own code", "fused kernel", "no Batch Normalization"
FIVE, NONE = Run(), Run(script_layers(norm=None))
WAYS = {
    NEITHER: NONE,
    f"{FUSED}, five layers, as in the script": FIVE,
    f"{KERAS}, five layers": FIVE,
    f"{FUSED}, three layers after ReLU": Run(script_layers(after_pooling=False)),
    f"{KERAS}, three layers before ReLU": Run(
        script_layers(before_relu=True, after_pooling=False)
    ),
}
HAS_BFLOAT16 = "avx512_bf16" in runs.machine()  # other processors take minutes for it
if HAS_BFLOAT16:
    WAYS |= {
        f"{name}, mixed_bfloat16": replace(WAYS[name], dtype_policy="mixed_bfloat16")
        for name in list(WAYS)[:3]
    }
ONEDNN = {"with oneDNN": "1", "without oneDNN": "0"}


class Way:
    """A network, and whether it trains with the fused kernel."""

    def __init__(self, name, settings, steps=1):
        keras.utils.set_random_seed(1)
        self.model = runs.build(settings)
        if name.startswith(FUSED):
            model_batchnorm.use_fused_kernel(self.model)
        self.model.compile(
            "adam",
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
            steps_per_execution=steps,
        )

    def epoch(self, x, y):
        """Train for an epoch; return its CPU and wall time in seconds."""
        cpu, wall = time.process_time(), time.perf_counter()
        self.model.fit(x, y, batch_size=250, validation_split=0.2, verbose=0)
        return {"CPU": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def seconds(ways):
    """Return for each way the times of its epochs."""
    rng = np.random.default_rng(0)
    x = model_batchnorm.prepare(rng.integers(0, 256, (IMAGES, 28, 28), "uint8"))
    y = rng.integers(0, 10, IMAGES)
    ways = {name: Way(name, *settings) for name, settings in ways.items()}
    for way in ways.values():
        way.epoch(x, y)  # traces its graph
    measured = {name: [] for name in ways}
    for _ in range(EPOCHS):
        for name, way in ways.items():
            measured[name].append(way.epoch(x, y))
    return measured


def in_a_process(function, *arguments):
    """Return what a function returns in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def with_and_without_onednn():
    """Return the times with and without Batch Normalization, with oneDNN and without it."""
    measured = {}
    for _ in range(ROUNDS):
        for name, setting in ONEDNN.items():
            os.environ["TF_ENABLE_ONEDNN_OPTS"] = setting  # a new process reads it
            times = in_a_process(seconds, {FUSED: (FIVE,), NEITHER: (NONE,)})
            for way, epochs in times.items():
                measured.setdefault(f"{way}, {name}", []).extend(epochs)
    return measured


def script():
    """Run the script for an epoch; return this process' peak memory in GB."""
    model_batchnorm.main(epochs=1)
    return peak_memory()


def straightforward():
    """Do the same without the script's main(), prepare() and kernel; return the same."""
    from extra_keras_datasets import kmnist

    (x_train, y_train), (x_test, y_test) = kmnist.load_data()
    x_train = x_train.reshape(-1, 28, 28, 1).astype("float32") / 255
    x_test = x_test.reshape(-1, 28, 28, 1).astype("float32") / 255
    model = model_batchnorm.build_model((28, 28, 1), 10)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, batch_size=250, validation_split=0.2, verbose=2)
    model.evaluate(x_test, y_test, verbose=2)
    return peak_memory()


def peak_memory():
    """Return the peak memory of this process in GB."""
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def report(machines):
    """Return the tables of what was measured on each machine, as Markdown."""
    return "\n\n".join(
        f"### {machine}\n\n{report_machine(measured)}"
        for machine, measured in machines.items()
    )


def report_machine(measured):
    """Return the tables of what was measured on one machine, as Markdown."""
    parts = []
    for comparison, ways in measured["seconds"].items():
        cpu, wall = (
            pd.DataFrame(
                {name: [of[clock] for of in epochs] for name, epochs in ways.items()}
            )
            for clock in ("CPU", "wall")
        )
        columns = {
            "CPU time, best": cpu.min(),
            "CPU time, median": cpu.median(),
            "wall time, best": wall.min(),
        }
        cells = pd.DataFrame(columns).apply(
            lambda column: [f"{s:.2f} s ({s / column.iloc[0]:.2f})" for s in column]
        )
        parts.append(tables.markdown(cells, comparison))
    best, *others = parts
    memory = [f"- {name}: {gb:.2f} GB" for name, gb in measured["peak memory"].items()]
    return "\n\n".join(
        [
            best,
            "<details><summary>oneDNN, steps, memory, versions</summary>",
            *others,
            "Peak memory, 60,000 images:",
            "\n".join(memory),
            measured["versions"],
            "</details>",
        ]
    )


def main():
    measured = {
        "versions": f"{platform.system()}, Python {platform.python_version()},"
        f" TensorFlow {tf.__version__}, Keras {keras.__version__}",
        # First: on Linux a process' peak is at least what its parent uses at its start.
        "peak memory": {
            "the script": in_a_process(script),
            "a straightforward script": in_a_process(straightforward),
        },
        "seconds": {
            "an epoch of 10,000 images": seconds(
                {name: (settings,) for name, settings in WAYS.items()}
            ),
            "steps for each call from Python": seconds(
                {f"{FUSED}, {steps}": (FIVE, steps) for steps in STEPS}
            ),
            "with oneDNN and without it": with_and_without_onednn(),
        },
    }
    file = run.HERE / "speed.json"
    machines = json.loads(file.read_text("utf-8")) if file.exists() else {}
    machines[runs.machine()] = runs.rounded(measured)
    file.write_text(json.dumps(machines, indent=1) + "\n", "utf-8")
    readme = run.HERE / "README.md"
    text = run.fill(readme.read_text("utf-8"), "speed", report(machines))
    readme.write_text(text, "utf-8", newline="\n")
    print(report(machines))


if __name__ == "__main__":
    main()
