"""Measure what the fused kernel saves, and what the layers cost, side by side.

    python experiments/speed.py

The ways to train alternate in one process, an epoch each, validation included, so that all
see the same machine; the first epoch of each, which traces its graph, does not count. Peak
memory is that of a process of its own for each way. The images are noise: speed does not
depend on what they show. Every single time goes into speed.json, under the machine that it
was measured on. README.md gets the CPU time: the best, as what else the machine does only
ever adds to it, and the median. Wall times are not shown: they jump with what else it does.
"""

import contextlib
import json
import platform
import statistics
import subprocess
import sys
import time

import numpy as np
import pandas as pd

import run
import runs
import tables
from runs import Run, keras, model_batchnorm, script_layers, tf

EPOCHS = 5
WAYS = {
    "Keras' own code": Run(),
    "fused kernel": Run(),
    "Keras' own code, mixed_bfloat16": Run(dtype_policy="mixed_bfloat16"),
    "fused kernel, mixed_bfloat16": Run(dtype_policy="mixed_bfloat16"),
}
if "avx512_bf16" not in runs.machine():  # without arithmetic for it, it takes minutes
    WAYS = {name: way for name, way in WAYS.items() if "bfloat16" not in name}
PLACES = {
    "no layers": Run(script_layers(norm=None)),
    "fused kernel, three layers after ReLU": Run(script_layers(after_pooling=False)),
    "fused kernel, three layers before ReLU": Run(
        script_layers(before_relu=True, after_pooling=False)
    ),
    "fused kernel, five layers, as in the script": Run(),
}
IMAGES = 10_000
SUMMARIES = {
    "CPU time, best": ("CPU", min),
    "CPU time, median": ("CPU", statistics.median),
}
COMPARISONS = {"an epoch of 10,000 images": WAYS, "the same, layers": PLACES}


class Way:
    """A network, and whether it trains with the fused kernel."""

    def __init__(self, name, settings):
        self.settings, self.fused = settings, name.startswith("fused kernel")
        self.model = None

    def epoch(self, x, y):
        """Train for an epoch; return its CPU and wall time in seconds."""
        if self.model is None:
            keras.utils.set_random_seed(1)
            self.model = runs.build(self.settings)
            self.model.compile(
                "adam", "sparse_categorical_crossentropy", metrics=["accuracy"]
            )
        kernel = (
            model_batchnorm.fused_batch_norm if self.fused else contextlib.nullcontext
        )
        cpu, wall = time.process_time(), time.perf_counter()
        with kernel(self.model):
            self.model.fit(x, y, batch_size=250, validation_split=0.2, verbose=0)
        return {"CPU": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def noise(number):
    """Return random images, prepared for the network, and labels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (number, 28, 28), "uint8")
    return model_batchnorm.prepare(images), rng.integers(0, 10, number)


def seconds(named):
    """Return for each way the times of its epochs."""
    x, y = noise(IMAGES)
    ways = {name: Way(name, settings) for name, settings in named.items()}
    for way in ways.values():
        way.epoch(x, y)  # traces its graph
    measured = {name: [] for name in ways}
    for _ in range(EPOCHS):
        for name, way in ways.items():
            measured[name].append(way.epoch(x, y))
    return measured


def peak_memory(name):
    """Return the peak memory, in GB, of a process that trains one of WAYS for an epoch."""
    command = [sys.executable, __file__, name]
    output = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
    return float(output.stdout.split()[-1])


def print_peak_memory(name):
    """Train for an epoch on 60,000 images and print this process' peak memory in GB."""
    import resource  # not on Windows

    Way(name, WAYS[name]).epoch(*noise(60_000))
    unit = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9)


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
        summaries = pd.DataFrame(
            {
                heading: {
                    name: summary(epoch[kind] for epoch in epochs)
                    for name, epochs in ways.items()
                }
                for heading, (kind, summary) in SUMMARIES.items()
            }
        )
        cells = summaries.apply(
            lambda column: [f"{s:.2f} s ({s / column.iloc[0]:.2f})" for s in column]
        )
        cells.index.name = comparison
        parts.append(tables.markdown(cells))
    memory = [f"- {name}: {gb:.2f} GB" for name, gb in measured["peak memory"].items()]
    parts.append("Peak memory, 60,000 images:\n\n" + "\n".join(memory))
    parts.append(measured["versions"])
    return "\n\n".join(parts)


def main():
    measured = {
        "versions": f"{platform.system()}, Python {platform.python_version()},"
        f" TensorFlow {tf.__version__}, Keras {keras.__version__}",
        # First: on Linux a process' peak is at least what its parent uses at its start.
        "peak memory": {name: peak_memory(name) for name in WAYS},
        "seconds": {name: seconds(ways) for name, ways in COMPARISONS.items()},
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
    if sys.argv[1:]:
        print_peak_memory(sys.argv[1])
    else:
        main()
