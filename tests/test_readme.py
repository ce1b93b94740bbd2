"""The README: its code runs, its links lead somewhere, its example by hand is right."""

import re
import runpy

import keras
import numpy as np
import pytest
import typer

import model_batchnorm
import run as run_experiments
import runs
import tables
from conftest import ROOT
from runs import norms

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)
COMMANDS = re.findall(r"python model_batchnorm\.py (--.*)", README)


def run(text, tmp_path):
    """Run the README's block with this text; return its variables."""
    (code,) = [block for block in BLOCKS if text in block]
    (tmp_path / "block.py").write_text(code, "utf-8")
    return runpy.run_path(str(tmp_path / "block.py"))


def test_the_layer_in_numpy_computes_what_keras_does(tmp_path):
    variables = run("class BatchNorm", tmp_path)  # it compares the outputs itself
    ours, theirs = variables["ours"], variables["theirs"]
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean)
    np.testing.assert_allclose(ours.moving_variance, theirs.moving_variance)


def test_the_example_by_hand_is_what_keras_computes():
    layer = keras.layers.BatchNormalization(dtype="float64")
    values = np.array([[1.0], [3], [5], [7]])
    normalized = np.array(layer(values, training=True)).ravel()
    layer.set_weights(np.array([[2], [1], [0], [1]]))
    scaled = np.array(layer(values, training=True)).ravel()
    readme = README.replace("\n", " ")
    assert "{:.4f}, {:.4f}, {:.4f} and {:.4f}".format(*normalized) in readme
    assert "{:.3f}, {:.3f}, {:.3f} and {:.3f}".format(*scaled) in readme


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """The variables of the code to copy, which trains on all of the 8 x 8 digits."""
    return run("load_digits", tmp_path_factory.mktemp("copied"))


def test_the_code_to_copy_learns(copied):
    assert copied["model"].history.history["val_accuracy"][-1] > 0.9


def test_in_the_code_to_copy_a_bias_would_change_nothing(copied):
    convolution, norm, *_ = copied["block"](32)
    features = convolution(copied["x"][:60])
    expected = norm(features, training=True)
    np.testing.assert_allclose(norm(features + 5, training=True), expected, atol=1e-3)


def test_in_inference_the_layer_folds_into_the_convolution_before_it(copied):
    convolution, norm, *_ = copied["model"].layers
    gamma, beta, mean, variance = norm.get_weights()
    scale = gamma / np.sqrt(variance + norm.epsilon)
    folded = keras.layers.Conv2D(32, kernel_size=3, padding="same")
    x = copied["x"][:10].astype("float32")
    folded(x)
    folded.set_weights([convolution.kernel.numpy() * scale, beta - mean * scale])
    np.testing.assert_allclose(folded(x), norm(convolution(x)), atol=1e-5)


@pytest.fixture
def saved(tmp_path):
    """Trains the script's network for too few steps; saves it as model.keras."""
    keras.backend.clear_session()  # layers get the names that they have in a new process
    model_batchnorm.main(
        dataset="digits", epochs=3, momentum=0.99, save=tmp_path / "model.keras"
    )
    keras.backend.clear_session()


def test_the_remedy_moves_the_averages_and_nothing_else(saved, tmp_path):
    before = keras.saving.load_model("model.keras")
    after = run("np.random.choice", tmp_path)
    x_test, y_test = after["x_test"], after["y_test"]
    assert before.evaluate(x_test, y_test, verbose=0)[1] < 0.2
    assert after["model"].evaluate(x_test, y_test, verbose=0)[1] > 0.95
    for one, other in zip(before.trainable_weights, after["model"].trainable_weights):
        np.testing.assert_array_equal(one, other)


def test_fine_tuning_learns_and_keeps_the_frozen_layers(saved, tmp_path):
    variables = run("new_classes", tmp_path)
    fine_tuned, old = variables["fine_tuned"], keras.saving.load_model("model.keras")
    assert fine_tuned.input_shape == (None, 28, 28, 1)
    for one, other in zip(norms(fine_tuned), norms(old)):
        np.testing.assert_equal(one.get_weights(), other.get_weights())
    assert not np.array_equal(fine_tuned.layers[0].kernel, old.layers[0].kernel)
    x, y = variables["x"][:200], variables["y"][:200]
    assert fine_tuned.evaluate(x, y, verbose=0)[1] > 0.9


def test_the_import_trains_and_predicts(tmp_path):
    variables = run("import build_model", tmp_path)
    assert variables["probabilities"].shape == (1, 10)


@pytest.mark.parametrize(
    "between", [[], [keras.layers.ReLU()]], ids=["before", "after"]
)
def test_weights_ten_times_as_large_get_a_tenth_of_the_gradient(between):
    import tensorflow as tf

    dense = keras.layers.Dense(8, bias_initializer="normal")
    model = keras.Sequential([dense, *between, keras.layers.BatchNormalization()])
    random = np.random.default_rng(0)
    x, target = random.normal(0, 5, (60, 16)), random.normal(0, 1, (60, 8))

    def loss_and_gradient():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - target) ** 2)
        return loss, tape.gradient(loss, dense.kernel.value)

    loss, gradient = loss_and_gradient()
    dense.set_weights([10 * weight for weight in dense.get_weights()])
    larger_loss, smaller = loss_and_gradient()
    np.testing.assert_allclose(larger_loss, loss, rtol=0.001)
    np.testing.assert_allclose(10 * smaller, gradient, atol=1e-4)


@pytest.mark.parametrize("options", COMMANDS)
def test_the_script_knows_the_options_of_every_command(options):
    app = typer.Typer()
    app.command()(model_batchnorm.main)
    typer.main.get_command(app).make_context("model_batchnorm.py", options.split())


@pytest.mark.parametrize(
    ("page", "command"),
    [
        ("README.md", "pip install -r requirements.txt"),
        ("README.md", "python model_batchnorm.py --dataset digits --epochs 3"),
        ("CONTRIBUTING.md", "pip install -r tests/requirements.txt"),
        ("CONTRIBUTING.md", "python -m pytest"),
    ],
)
def test_ci_runs_the_commands_that_a_page_gives(page, command):
    given = (ROOT / page).read_text("utf-8").splitlines()
    run_in_ci = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    assert command in given
    assert command in [line.partition(" #")[0] for line in run_in_ci]


def test_the_scripts_docstring_has_the_measured_accuracies():
    question = run_experiments.Question("default_run")
    found = question.find(runs.read(runs.HERE / runs.RESULTS))
    test = tables.after(found, "test_accuracy", 25)
    words = " ".join(model_batchnorm.__doc__.split())
    assert f"{tables.mean(test[runs.WITH])} with it" in words
    assert f"{tables.mean(test[runs.WITHOUT])} without" in words


@pytest.mark.parametrize("readme", ["README.md", "experiments/README.md"])
def test_no_row_of_a_table_is_broken_over_lines(readme):
    for line in (ROOT / readme).read_text("utf-8").splitlines():
        assert line.startswith("|") == line.endswith("|"), line


def test_every_link_to_a_section_leads_to_one():
    experiments = (ROOT / "experiments" / "README.md").read_text("utf-8")
    for text, pattern in [
        (README, r"\]\(experiments/README\.md#([^)]+)\)"),
        (experiments, r"\]\(#([^)]+)\)"),
    ]:
        for anchor in re.findall(pattern, text.replace("\n", " ")):
            assert anchor in anchors(experiments)
    for text, pattern in [
        (experiments, r"\]\(\.\./README\.md#([^)]+)\)"),
        (README, r"\]\(#([^)]+)\)"),
    ]:
        for anchor in re.findall(pattern, text.replace("\n", " ")):
            assert anchor in anchors(README)


def anchors(markdown):
    """Return the anchors that GitHub gives to a page's headings."""
    headings = re.findall("^#+ (.+)$", markdown, re.M)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
