"""The script as its users run it, as a process of its own where that matters."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest

import experiments
import model_batchnorm
from conftest import ROOT, SCRIPT, cached, learnable, own_lines, run

POSIX = pytest.mark.skipif(os.name != "posix", reason="sends signals, or needs /proc or /dev/full")


def result(output):
    """Loss and accuracy from the last line on standard output."""
    last = output.splitlines()[-1]
    match = re.fullmatch(r"Test loss: (\d+\.\d{4}) / Test accuracy: ([01]\.\d{4})", last)
    assert match, output
    return float(match[1]), float(match[2])


def main(*arguments, dataset="digits"):
    """Run the script in this process, for an epoch unless the arguments say otherwise."""
    return model_batchnorm.main(["--dataset", dataset, "--epochs", "1", *map(str, arguments)])


def test_learns_kmnist_and_is_reproducible(cache, capsys):
    cached(cache, learnable(300), learnable(100, seed=1))
    options = "--epochs", "3", "--batch-size", "30", "--seed"
    done = run(SCRIPT, *options, "7")
    loss, accuracy = result(done.stdout)
    assert done.returncode == 0 and accuracy > 0.9 and loss < 0.5  # on images that it has not seen
    assert done.stdout.count("val_accuracy") == 3 and "\b" not in done.stdout  # no progress bar
    # Keras and TensorFlow have nothing to warn of; the dataset asks to be cited.
    cite, paper, warning = own_lines(done.stderr)
    assert cite.startswith("Please cite") and warning.startswith("Not all of kmnist: 300 training")
    results = [model_batchnorm.main([*options, seed]) or result(capsys.readouterr().out)
               for seed in ("7", "8")]
    assert results[0] == (loss, accuracy) != results[1]


def test_saved_networks_load_predict_and_train_without_the_script(tmp_path, capsys):
    keras.config.set_dtype_policy("mixed_bfloat16")
    policies = "float32", "mixed_bfloat16", "mixed_float16"
    results = [main("--dtype-policy", policy, "--save", tmp_path / f"{policy}.keras")
               or result(capsys.readouterr().out) for policy in policies]
    assert keras.config.dtype_policy().name == "mixed_bfloat16"  # as before
    keras.config.set_dtype_policy("float32")
    np.savez(tmp_path / "test.npz", *model_batchnorm.load_data("digits")[1])
    clean = run("-c", f"""
import keras, numpy as np
x, y = np.load("test.npz").values()
for policy in {policies}:
    model = keras.saving.load_model(policy + ".keras")
    assert sum(type(layer) is keras.layers.BatchNormalization for layer in model.layers) == 5
    assert model.layers[0].dtype_policy.name == policy and model.outputs[0].dtype == "float32"
    print(*model.evaluate(x, y, verbose=0))
    model.train_on_batch(x, y)
""", cwd=tmp_path)
    assert clean.returncode == 0, clean.stderr
    for line, printed in zip(clean.stdout.splitlines(), results, strict=True):
        np.testing.assert_allclose([float(value) for value in line.split()], printed, atol=0.01)


def test_compare_and_plot(tmp_path, capsys):
    assert main("--compare", "--plot", tmp_path / "curves.svg", "--epochs", 3) == 0
    loss, accuracy = result(output := capsys.readouterr().out)
    svg = (tmp_path / "curves.svg").read_text()
    values = [float(value) for value in re.findall(r"val_accuracy: ([\d.]+)", output)]
    table = [re.split(r"  +", line.strip()) for line in output.splitlines()[-7:-1]]
    assert (table[1][1], table[2][1]) == (f"{accuracy:.4f}", f"{loss:.4f}")
    assert [row[0] for row in table] == [
        "with Batch Normalization", "Test accuracy", "Test loss",
        "Best validation accuracy (epoch)", "Epochs to 90% validation accuracy", "Seconds an epoch"]
    for column, curve in (1, values[:3]), (2, values[3:]):
        assert table[3][column] == f"{max(curve):.4f} ({curve.index(max(curve)) + 1})"
        first = [str(epoch) for epoch, value in enumerate(curve, 1) if value >= 0.9]
        assert table[4][column] == [*first, "never"][0] and float(table[5][column]) > 0
        for kind in "training", "validation":
            assert f"<!-- {kind}, {table[0][column - 1]} -->" in svg


def test_without_network_digits_take_kmnists_place(offline, cache, capsys, caplog):
    assert model_batchnorm.main(["--epochs", "3"]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert result(last.removesuffix(" (digits, not KMNIST)"))[1] > 0.9 and "digits" in last
    host, openml, fallback = [r.getMessage() for r in caplog.records if r.name == "root"]
    assert host.startswith(model_batchnorm.HOST) and "kmnist could not be loaded" in openml
    assert "--dataset digits" in openml and "--dataset kmnist insists" in fallback
    assert main(dataset="kmnist") == 1 and "Test" not in capsys.readouterr().out


def test_a_short_last_batch_does_no_harm(monkeypatch, capsys):
    """The last of 1,149 training images would be a batch of its own: 0.6 to 0.9 of them right.

    On a terminal, so with a progress bar, and in a thread, where nobody can handle Ctrl-C.
    """
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with ThreadPoolExecutor() as pool:
        assert pool.submit(main, "--batch-size", 287, "--epochs", 6).result() == 0
    assert result(output := capsys.readouterr().out)[1] > 0.96 and "━━━" in output


def test_options_reach_the_training(monkeypatch):
    seen = []

    def train(model, x, y, epochs, batch_size, validation_split, learning_rate, **options):
        norms = {n.momentum for n in model.layers if hasattr(n, "momentum")}
        seen.append((epochs, batch_size, validation_split, learning_rate, *norms))
        raise KeyboardInterrupt

    images = np.zeros((60_000, 10, 10, 1), "float32"), np.zeros(60_000, "uint8")
    monkeypatch.setattr(model_batchnorm, "load_data", lambda dataset: (images, images))
    monkeypatch.setattr(model_batchnorm, "train", train)
    for options in ("", "--no-batch-norm --batch-size 1",
                    "--batch-size 47999 --learning-rate 0.5 --momentum 0.3",
                    "--epochs 7 --validation-split 0 --batch-size 59999"):
        with pytest.raises(KeyboardInterrupt):
            main(*options.split())
    assert seen == [
        (1, 250, 0.2, 0.001, 0.9), (1, 1, 0.2, 0.001), (1, 24_000, 0.2, 0.5, 0.3),
        (7, 30_000, 0, 0.001, pytest.approx(0.001**0.5))]


@pytest.mark.parametrize("option, values, accepts", [
    ("--dataset", "cifar10", "choose from"), ("--dtype-policy", "float64", "choose from"),
    ("--epochs", f"0 -3 1{20 * '0'}", "at least 1"), ("--epochs", "1.5 nan", "int value"),
    ("--batch-size", f"0 1 1{20 * '0'}", "at least 2, or 1 with --no-batch-norm"),
    ("--learning-rate", "0 -1 nan inf", "above 0"),
    ("--validation-split", "1 -0.1 nan 0.999999 1e-17", "0 or from 0.001 to 0.999"),
    ("--momentum", "1 -0.1 nan", "at least 0 and below 1"), ("--momentum", "high", "float value"),
    ("--seed", "-1 4294967296", "from 0 to 4294967295"),
    ("--save", "model.h5 a.KERAS no/model.keras file/model.keras folder.keras", "a .keras file"),
    pytest.param("--save", "/proc/model.keras", "a .keras file that can be written", marks=POSIX),
    ("--plot", "curves.gif curves nowhere/curves.png", "a .png, .svg or .pdf file that can be"),
    ("--compare", "--no-batch-norm", "not allowed with argument"),
    ("--epoch5", "1", "unrecognized arguments"),
])
def test_refused_before_any_data_is_loaded(monkeypatch, tmp_path, capsys, option, values, accepts):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model_batchnorm, "load_data", lambda dataset: pytest.fail("data loaded"))
    Path("file").touch()
    Path("folder.keras").mkdir()
    for value in values.split():
        with pytest.raises(SystemExit, match="2"):
            model_batchnorm.main([option, value])
        error = capsys.readouterr().err.splitlines()[-1]
        assert option in error and accepts in error, error
    assert sorted(os.listdir()) == ["file", "folder.keras"]


def test_help_and_readme_know_all_options(capsys, monkeypatch):
    with pytest.raises(SystemExit, match="0"):
        main("--help")
    text = capsys.readouterr().out
    options = re.findall(r"^  (--[a-z-]+)", text, re.MULTILINE)
    assert len(options) == text.count("(default:") == 12
    readme = re.findall(r"^\| `(--[a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(readme) == sorted(options)
    monkeypatch.setattr(model_batchnorm, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        main("--plot", "curves.png")
    assert "needs matplotlib" in capsys.readouterr().err


@POSIX
def test_files_are_saved_through_links(tmp_path, cache, capsys, caplog):
    """To a new file, to one that is there, to a full disk; with as many classes as labels tell."""
    cached(cache, learnable(60, classes=12), learnable(24, classes=12), "k49")
    (tmp_path / "link.keras").symlink_to(tmp_path / "model.keras")
    (tmp_path / "full.keras").symlink_to("/dev/full")
    for name, status in ("link", 0), ("link", 0), ("full", 1):
        assert main("--save", tmp_path / f"{name}.keras", dataset="k49") == status
        assert (tmp_path / f"{name}.keras").is_symlink() and result(capsys.readouterr().out)
        assert keras.saving.load_model(tmp_path / "model.keras").output_shape == (None, 12)
    (message,) = [text for text in caplog.messages if "could not be written" in text]
    assert message.startswith(f"{tmp_path / 'full.keras'} could not be written: ")
    spare = Path(re.search(r"; writing (.*) instead$", message)[1])
    assert keras.saving.load_model(spare).optimizer.iterations == 1
    spare.unlink()


@pytest.fixture
def ctrl_c(monkeypatch):
    """Call ctrl_c(moment, times) to have it pressed at a moment of training that Keras names."""

    def ctrl_c(moment, times=1):
        presses = [signal.SIGINT] * times
        monkeypatch.setattr(model_batchnorm.StopOnCtrlC, moment, lambda *_, **__: [
            signal.raise_signal(presses.pop()) for _ in presses[:]])

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield ctrl_c
    signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize("moment, steps, plot, start", [
    ("on_train_batch_end", 1, "a.png", b"\x89PNG"), ("on_test_batch_end", 5, "a.pdf", b"%PDF"),
    ("on_train_end", 10, "a.svg", b"<?xml")])  # the last: while the network is about to be saved
def test_ctrl_c_stops_the_training(ctrl_c, tmp_path, capsys, moment, steps, plot, start):
    ctrl_c(moment)
    assert main("--epochs", 2, "--compare", "--save", tmp_path / "model.keras",
                "--plot", tmp_path / plot) == 130
    result(output := capsys.readouterr().out)
    assert output.count("val_accuracy") == 1 + steps // 10 and "Training without" not in output
    assert keras.saving.load_model(tmp_path / "model.keras").optimizer.iterations == steps
    assert (tmp_path / plot).read_bytes().startswith(start)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_ends_the_run_at_once(ctrl_c, capsys):
    ctrl_c("on_train_batch_end", times=2)
    with pytest.raises(KeyboardInterrupt):
        main("--epochs", 1000)
    assert "Test loss" not in capsys.readouterr().out


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None], ids=["ignored", "others'"])
def test_others_handlers_of_ctrl_c_are_left_alone(ctrl_c, handler):
    ctrl_c("on_train_batch_end", times=2)
    signal.signal(signal.SIGINT, handler)
    assert main("--validation-split", 0) == 0 and signal.getsignal(signal.SIGINT) is handler


@POSIX
@pytest.mark.parametrize("line, status", [("", 130), ("Epoch 3/", 130), ("Training", 1)])
def test_no_traceback(line, status):
    """Where Ctrl-C ends the imports or the training, and where nobody reads the output any more."""
    process = subprocess.Popen(
        [sys.executable, "-u", SCRIPT, "--dataset", "digits", "--epochs", "1000"], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    time.sleep(0 if line else 1)
    while line and not process.stdout.readline().startswith(line):
        pass
    if status == 1:
        process.stdout.close()
    else:
        process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == status and own_lines(errors) == [], errors
    assert result(output) if line.startswith("Epoch") else not output


def copied(*names):
    """The imports of the script and these of its parts, as in a file of their own."""
    source, module = SCRIPT.read_text(), {"__name__": "copied"}
    for node in ast.parse(source).body:
        defined = {getattr(node, "name", ""), *(t.id for t in getattr(node, "targets", ()))}
        if isinstance(node, (ast.Import, ast.ImportFrom)) or defined & set(names):
            exec(ast.get_source_segment(source, node), module)
    return module


def test_each_part_can_be_copied_with_what_the_readme_says_it_needs(offline, cache):
    data = copied("load_data", "prepare", "load_arrays", "fill_cache", "load_digits",
                  "TIMEOUT", "HOST", "OPENML", "MD5", "SIZES")
    (x_train, y_train), _ = data["load_data"]("digits")
    with pytest.raises(OSError, match="kmnist could not be loaded"):
        data["load_data"]()
    assert copied("settled_momentum")["settled_momentum"](23) < 0.9
    stock = copied("build_model", "train")
    stock["BatchNormalization"] = keras.layers.BatchNormalization
    for parts in stock, copied("build_model", "train", "BatchNormalization"):
        model = parts["build_model"]((28, 28, 1), 10)
        history = parts["train"](model, x_train, y_train, epochs=1).history
        assert len(history["val_accuracy"]) == 1


def test_experiments_go_on_where_they_stopped(tmp_path, monkeypatch, capsys):
    """All runs but the last are in the file already, as if an earlier call had made them."""
    runs = [f"--dataset digits --seed {seed} {options}"
            for seed in (1, 2) for options in experiments.settings(2)[0]]
    lines = [json.dumps([name, {"test": 0.5, "validation": [0.4, 0.95]}]) for name in runs]
    (tmp_path / "results").write_text("\n".join(lines[:-1]) + "\n")
    monkeypatch.chdir(tmp_path)
    options = "--dataset digits --seeds 2 --epochs 2 --images . --results results"
    monkeypatch.setattr(sys, "argv", ["experiments.py", *options.split()])
    experiments.main()
    output = capsys.readouterr().out
    assert output.count("minutes left\n") == 1 and f"1/1: {runs[-1]}" in output
    assert output.count("0.500 ± 0.000") > 20
    *kept, new = (tmp_path / "results").read_text().splitlines()
    assert kept == lines[:-1] and json.loads(new)[0] == runs[-1]
    assert sorted(os.listdir()) == ["digits.png", "learning_rates.png", "results"]
