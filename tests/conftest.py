"""What all tests share. Keras reads KERAS_HOME once, when it is imported: so it is set here."""

import atexit
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "model_batchnorm.py"
os.environ["KERAS_HOME"] = tempfile.mkdtemp(prefix="keras_home")
atexit.register(shutil.rmtree, os.environ["KERAS_HOME"], ignore_errors=True)
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pytest  # noqa: E402

PARTS = "train_imgs", "train_labels", "test_imgs", "test_labels"


@pytest.fixture
def cache():
    """The folder that the loaders of this process, and of those it starts, cache in, empty."""
    folder = Path(os.environ["KERAS_HOME"], "datasets")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def offline(monkeypatch):
    """Only the loopback interface, here and in processes that are started: no proxy answers."""
    for name in "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY":
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(urllib.request, "_opener", None)  # else it keeps the old environment's


def run(*arguments, cwd=None):
    """Run Python as a process of its own."""
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True,
                          timeout=120)


def own_lines(stderr):
    """Standard error without what TensorFlow says before any environment variable can stop it."""
    return [line for line in stderr.splitlines()
            if not re.match(r"[IWE]\d{4} |WARNING: All log messages before absl", line)]


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
    for part, array in zip(PARTS, (*train, *test)):
        (folder / f"kmnist.npz_{dataset}_{part}").write_bytes(npz(array))


def npz(array):
    """The bytes of an .npz file as the dataset's host has them."""
    file = io.BytesIO()
    np.savez_compressed(file, array)
    return file.getvalue()
