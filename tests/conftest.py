"""What the tests share: where the script is, and a world of its own for each test."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "model_batchnorm.py"
sys.path[:0] = [str(ROOT), str(ROOT / "experiments")]

# Where the user has the published files, if anywhere.
USERS_KERAS_HOME = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser().resolve()

# Keras reads this folder's name, and its keras.json, once: when it is imported.
HOME = tempfile.TemporaryDirectory(prefix="keras_home")  # removed in the end
os.environ["KERAS_HOME"] = HOME.name

import keras


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path, tmp_path_factory):
    """Start a test in an empty folder, without a cache and without the network.

    What is set here is what a process that the test starts will see, too.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody answers
    monkeypatch.setenv("no_proxy", "")
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)
