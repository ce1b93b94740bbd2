"""The script as its users run it, as a process of its own where that matters."""

import importlib.util
import os
import re
import resource
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import model_batchnorm
from conftest import SCRIPT, cached, learnable

RESULT = re.compile(r"Test loss: (\d+\.\d+) / Test accuracy: ([01]\.\d+)")
OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}


def result(output):
    """Loss and accuracy from the last line on standard output."""
    match = RESULT.fullmatch(output.splitlines()[-1])
    assert match, output
    return float(match[1]), float(match[2])


def own_lines(stderr):
    """Standard error without what TensorFlow says before any environment variable can stop it."""
    return [line for line in stderr.splitlines()
            if not re.match(r"[IWE]\d{4} |WARNING: All log messages before absl", line)]


def test_learns_kmnist_and_is_reproducible(run, cache, capsys):
    cached(cache, learnable(300), learnable(100, seed=1))
    options = "--epochs", "3", "--batch-size", "30", "--seed"
    done = run(*options, "7")
    assert done.returncode == 0, done.stderr
    loss, accuracy = result(done.stdout)
    assert accuracy > 0.9 and loss < 0.5  # on images that it has not seen; chance is 0.1
    assert done.stdout.count("val_accuracy") == 3
    assert "\b" not in done.stdout  # no progress bar
    # Keras and TensorFlow have nothing to warn of; the dataset asks to be cited.
    warning, *citation = own_lines(done.stderr)
    assert warning.startswith("Not the published KMNIST, but 300 training and 100 test images")
    assert len(citation) == 2 and citation[0].startswith("Please cite")
    results = []
    for seed in "7", "8":
        assert model_batchnorm.main([*options, seed]) == 0
        results.append(result(capsys.readouterr().out))
    assert results[0] == (loss, accuracy) != results[1]


def test_everything_in_one_run(run, tmp_path):
    saved, figure = tmp_path / "model.keras", tmp_path / "curves.svg"
    done = run("--dataset", "digits", "--epochs", 1, "--validation-split", 0, "--compare",
               "--momentum", 0.3, "--save", saved, "--plot", figure)
    assert done.returncode == 0, done.stderr
    loss, accuracy = result(done.stdout)
    assert "val_accuracy" not in done.stdout
    assert own_lines(done.stderr) == []
    table = done.stdout.splitlines()[-8:-1]
    assert table[0].split() == "with Batch Normalization without Batch Normalization".split()
    assert table[1].split()[:3] == ["Test", "accuracy", f"{accuracy:.4f}"]
    assert table[3].split()[-2:] == table[4].split()[-2:] == table[5].split()[-2:] == ["-", "-"]
    assert figure.read_text().count("without Batch Normalization") > 0
    assert sorted(os.listdir(tmp_path)) == ["curves.svg", "model.keras"]
    # A process that knows nothing of this project loads the network, with Batch Normalization,
    # and trains it further.
    code = f"""
import keras, numpy as np, sklearn.datasets
model = keras.saving.load_model({str(saved)!r})
print({{type(layer).__module__.split(".")[0] for layer in model.layers}})
print(sum(type(layer) is keras.layers.BatchNormalization for layer in model.layers))
print(int(model.optimizer.iterations.numpy()))
x, y = np.random.rand(20, 28, 28, 1), np.arange(20) % 10
model.fit(x, y, verbose=0)
print(int(model.optimizer.iterations.numpy()))
"""
    clean = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert clean.stdout.split() == ["{'keras'}", "5", "6", "7"], clean.stderr


def test_without_network_digits_take_kmnists_place(run, cache):
    done = run("--epochs", 5, **OFFLINE)
    assert done.returncode == 0, done.stderr
    *output, last = done.stdout.splitlines()
    assert last.endswith(" (digits, not KMNIST)")
    assert result(last.removesuffix(" (digits, not KMNIST)"))[1] > 0.95
    first, *_, validation = map(float, re.findall(r"val_accuracy: ([\d.]+)", done.stdout))
    assert first > 0.8 and validation > 0.95 and "Epoch 5/5" in output
    assert own_lines(done.stderr) == [
        "kmnist from codh.rois.ac.jp: [Errno 111] Connection refused",
        "kmnist from openml.org: [Errno 111] Connection refused",
        "kmnist could not be loaded. Had from elsewhere, its files belong here (delete any that are"
        " damaged):",
        *[f"  {file}" for file in model_batchnorm.cache_files("kmnist")[-1]],
        "Using scikit-learn's 1,797 handwritten digits instead."
        " --dataset kmnist insists on KMNIST.",
    ]


def test_kmnist_or_nothing(monkeypatch, cache, caplog, capsys):
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    urllib.request.install_opener(None)  # so that urllib looks at the environment again
    assert model_batchnorm.main(["--dataset", "kmnist"]) == 1
    assert "Test" not in capsys.readouterr().out
    *_, reasons, advice = [r.message for r in caplog.records]
    assert len(caplog.records) == 4 and reasons.startswith("kmnist could not be loaded")
    assert advice == "--dataset digits needs no network."


def test_no_batch_norm(monkeypatch, capsys):
    calls = []
    evaluate = model_batchnorm.keras.Sequential.evaluate
    monkeypatch.setattr(
        model_batchnorm.keras.Sequential, "evaluate",
        lambda self, *a, **k: calls.append((self.count_params(), k)) or evaluate(self, *a, **k))
    arguments = ["--dataset", "digits", "--epochs", "3", "--no-batch-norm", "--batch-size", "200",
                 "--validation-split", "0"]
    assert model_batchnorm.main(arguments) == 0
    assert result(capsys.readouterr().out)[1] > 0.5
    assert [(parameters, k["batch_size"]) for parameters, k in calls] == [(431_242, 200)]


def test_the_number_of_classes_comes_from_the_labels(cache, capsys, tmp_path):
    cached(cache, learnable(60, classes=12), learnable(24, classes=12), "k49")
    path = tmp_path / "k49.keras"
    assert model_batchnorm.main(["--dataset", "k49", "--epochs", "1", "--save", str(path)]) == 0
    assert model_batchnorm.keras.saving.load_model(path).output_shape == (None, 12)


@pytest.mark.parametrize(
    "options, warned",
    [(["0.99"], True), (["0.3"], False), (["0.99", "--no-batch-norm"], False)])
def test_warning_of_moving_averages_that_do_not_settle(caplog, capsys, options, warned):
    arguments = ["--dataset", "digits", "--epochs", "1", "--momentum", *options]
    assert model_batchnorm.main(arguments) == 0
    assert [r.message for r in caplog.records if r.name == "root"] == [
        "--momentum 0.99 leaves 95 % of the moving averages' initial values after all 5 steps:"
        " validation and test accuracy will read low."] * warned


@pytest.mark.parametrize(
    "option, value, accepts",
    [
        ("--dataset", "cifar10", "choose from"),
        ("--epochs", "0", "a whole number of at least 1"),
        ("--epochs", "-3", "a whole number of at least 1"),
        ("--epochs", "1.5", "a whole number of at least 1"),
        ("--epochs", "nan", "a whole number of at least 1"),
        ("--epochs", "1" + "0" * 20, "a whole number of at least 1"),
        ("--batch-size", "0", "a whole number of at least 1"),
        ("--batch-size", "many", "a whole number of at least 1"),
        ("--validation-split", "1", "at least 0 and below 1"),
        ("--validation-split", "-0.1", "at least 0 and below 1"),
        ("--validation-split", "nan", "at least 0 and below 1"),
        ("--momentum", "1", "at least 0 and below 1"),
        ("--momentum", "-0.1", "at least 0 and below 1"),
        ("--momentum", "nan", "at least 0 and below 1"),
        ("--momentum", "high", "at least 0 and below 1"),
        ("--seed", "-1", "from 0 to 4294967295"),
        ("--seed", "4294967296", "from 0 to 4294967295"),
        ("--save", "model.h5", "a .keras file that can be written"),
        ("--save", "model.KERAS", "a .keras file that can be written"),
        ("--save", "nowhere/model.keras", "No such file or directory"),
        ("--save", "file/model.keras", "Not a directory"),
        ("--save", "folder.keras", "Is a directory"),
        ("--save", "/proc/model.keras", "a .keras file that can be written"),
        ("--plot", "curves.gif", "a .png or .svg or .pdf file that can be written"),
        ("--plot", "curves", "a .png or .svg or .pdf file that can be written"),
        ("--plot", "nowhere/curves.png", "No such file or directory"),
        ("--compare", "--no-batch-norm", "not allowed with argument"),
        ("--epoch5", "1", "unrecognized arguments"),
    ],
)
def test_refused_before_any_data_is_loaded(
    monkeypatch, tmp_path, capsys, cache, option, value, accepts
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model_batchnorm, "load_data", lambda dataset: pytest.fail("data loaded"))
    Path("file").touch()
    Path("folder.keras").mkdir()
    with pytest.raises(SystemExit) as refused:
        model_batchnorm.main([option, value])
    assert refused.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert option in error and accepts in error, error
    assert sorted(os.listdir()) == ["file", "folder.keras"]


@pytest.mark.parametrize("split", ["0.999999", "1e-17"])
def test_refused_once_the_number_of_images_is_known(capsys, split):
    with pytest.raises(SystemExit) as refused:
        model_batchnorm.main(["--dataset", "digits", "--validation-split", split])
    assert refused.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "--validation-split" in error and "1,437 images" in error


def test_refusal_and_help(run, capsys):
    refused = run("--epochs", 0)
    assert refused.returncode == 2 and refused.stdout == ""
    assert own_lines(refused.stderr)[-1].endswith(
        "error: argument --epochs: accepts a whole number of at least 1, not '0'")
    with pytest.raises(SystemExit) as helped:
        model_batchnorm.main(["--help"])
    assert helped.value.code == 0
    text = capsys.readouterr().out
    options = re.findall(r"^  (--[a-z-]+)", text, re.MULTILINE)
    assert options == ["--dataset", "--epochs", "--batch-size", "--validation-split", "--momentum",
                       "--seed", "--save", "--plot", "--no-batch-norm", "--compare"]
    assert text.count("(default:") == len(options)
    readme = (SCRIPT.parent / "README.md").read_text()
    assert re.findall(r"^\| `(--[a-z-]+)", readme, re.MULTILINE) == options


def test_plot_without_matplotlib_is_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as refused:
        model_batchnorm.main(["--plot", str(tmp_path / "curves.png")])
    assert refused.value.code == 2
    assert "matplotlib" in capsys.readouterr().err


def test_what_cannot_be_written_after_training_is_told(monkeypatch, tmp_path, capsys, caplog):
    """A limit on the size of files stands for a full disk: result line, message, exit status 1."""
    saved, figure = tmp_path / "model.keras", tmp_path / "curves.png"
    saved.write_text("an earlier network")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    train = model_batchnorm.train

    def train_and_fill(*args):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
        return train(*args)

    monkeypatch.setattr(model_batchnorm, "train", train_and_fill)
    arguments = ["--dataset", "digits", "--epochs", "1", "--save", str(saved)]
    arguments += ["--plot", str(figure)]
    try:
        assert model_batchnorm.main(arguments) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    result(capsys.readouterr().out)
    (message,) = [r.message for r in caplog.records if r.name == "root"]
    assert message.startswith(f"{saved} could not be written: ")
    assert saved.read_text() == "an earlier network"
    assert sorted(os.listdir(tmp_path)) == ["curves.png", "model.keras"]  # the figure is small


def interruptible(*arguments):
    """Start the script so that Ctrl-C reaches it even if the tests themselves run in background."""
    return subprocess.Popen(
        [sys.executable, "-u", SCRIPT, *arguments], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))


def test_ctrl_c_during_training(tmp_path):
    saved, figure = tmp_path / "model.keras", tmp_path / "curves.png"
    process = interruptible("--dataset", "digits", "--epochs", "100000", "--compare",
                            "--save", saved, "--plot", figure)
    for line in process.stdout:
        if line.startswith("Epoch 3/"):
            break
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    result(output)
    assert own_lines(errors) == []
    assert "without" not in output  # the second network was not begun
    assert model_batchnorm.keras.saving.load_model(saved).optimizer.iterations > 0
    assert figure.exists()


def test_ctrl_c_before_training():
    process = interruptible("--dataset", "digits", "--epochs", "100000")
    time.sleep(1)  # whatever it does by then; importing TensorFlow, most likely
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode in (-signal.SIGINT, 130)
    assert "Traceback" not in errors


def test_output_that_nobody_reads():
    process = interruptible("--dataset", "digits")
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=60) == 1
    assert own_lines(errors) == []


def test_progress_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert model_batchnorm.main(["--dataset", "digits", "--epochs", "1"]) == 0
    assert "━━━" in capsys.readouterr().out


def test_importing_loads_no_data_and_trains_nothing(monkeypatch):
    monkeypatch.setattr(model_batchnorm.keras.Model, "fit", lambda *a, **k: pytest.fail("trained"))
    monkeypatch.setattr(model_batchnorm.kmnist, "load_data", lambda **k: pytest.fail("loaded"))
    spec = importlib.util.spec_from_file_location("again", SCRIPT)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_train_returns_what_was_measured():
    images, labels = learnable(100)
    model = model_batchnorm.build_model((28, 28, 1), 10, momentum=0.5)
    history, interrupted = model_batchnorm.train(
        model, (images[..., None] / 255).astype("float32"), labels, epochs=3, batch_size=20)
    assert not interrupted
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy", "seconds"}
    assert all(len(values) == 3 for values in history.values())
    assert np.all(np.diff(history["seconds"]) > 0)
