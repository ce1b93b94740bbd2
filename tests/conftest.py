"""What all tests share. Keras reads KERAS_HOME once, when imported: so it is set here."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "model_batchnorm.py"
REAL_KMNIST = ROOT.parent / "shared" / "keras_home"

os.environ["KERAS_HOME"] = tempfile.mkdtemp(prefix="keras_home")
atexit.register(shutil.rmtree, os.environ["KERAS_HOME"], ignore_errors=True)
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture
def cache():
    """The folder that the loaders of this process cache in, empty."""
    folder = Path(os.environ["KERAS_HOME"], "datasets")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def run():
    """Call run(*arguments, **environment) to run the script as a process of its own."""

    def run(*arguments, **environment):
        return subprocess.run(
            [sys.executable, SCRIPT, *map(str, arguments)],
            capture_output=True, text=True, timeout=120, env=os.environ | environment,
        )

    return run


def learnable(number, classes=10, seed=0):
    """Images that a network can tell apart: a bright bar, its place the class, in noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, number).astype("uint8")
    labels[:classes] = range(classes)
    images = rng.integers(0, 100, (number, 28, 28)).astype("uint8")
    for image, label in zip(images, labels):
        image[2 * label + 4 : 2 * label + 6] = 255
    return images, labels


def cached(folder, train, test, dataset="kmnist"):
    """Write arrays into a cache folder, under the names that the loader looks for."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = "train_imgs", "train_labels", "test_imgs", "test_labels"
    for part, array in zip(parts, (*train, *test)):
        with open(folder / f"kmnist.npz_{dataset}_{part}", "wb") as file:
            np.savez_compressed(file, array)
