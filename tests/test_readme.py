"""The README: its code runs, its links lead somewhere, its example by hand is right."""

import re
import runpy
import textwrap

import keras
import numpy as np
import pytest

import model_batchnorm
from conftest import ROOT, SCRIPT, norms

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)
COMMANDS = re.findall(r"`python model_batchnorm\.py (--[^`]*)`", README)


def run(text, tmp_path):
    """Run the README's block with this text; return its variables."""
    (code,) = [block for block in BLOCKS if text in block]
    (tmp_path / "block.py").write_text(code, "utf-8")
    return runpy.run_path(str(tmp_path / "block.py"))


def small_data():
    (x_train, y_train), _ = model_batchnorm.load_data("digits")
    return model_batchnorm.prepare(x_train[:60]), y_train[:60]


def test_the_model_is_the_scripts():
    (listed,) = [block for block in BLOCKS if block.startswith("network = [")]
    assert textwrap.indent(listed, "    ") in SCRIPT.read_text("utf-8")


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


def test_in_the_block_to_copy_a_bias_would_change_nothing(tmp_path):
    convolution, norm, relu = run("use_bias=False", tmp_path)["block"](32)
    features = convolution(small_data()[0])
    expected = relu(norm(features, training=True))
    biased = relu(norm(features + 5, training=True))
    np.testing.assert_allclose(biased, expected, atol=1e-3)


def test_the_import_trains_and_predicts(tmp_path):
    variables = run("import build_model", tmp_path)
    assert variables["probabilities"].shape == (1, 10)


def test_fine_tuning_keeps_the_frozen_layers_and_trains_the_others(tmp_path):
    keras.backend.clear_session()  # layers get the names that they have in a new process
    model_batchnorm.build_model((28, 28, 1), 10).save("model.keras")
    keras.backend.clear_session()
    fine_tuned = run("fine_tuned", tmp_path)["fine_tuned"]
    frozen = [layer.get_weights() for layer in norms(fine_tuned)]
    kernel = fine_tuned.layers[0].get_weights()[0]
    fine_tuned.fit(*small_data(), verbose=0)
    np.testing.assert_equal(
        [layer.get_weights() for layer in norms(fine_tuned)], frozen
    )
    assert not np.array_equal(fine_tuned.layers[0].get_weights()[0], kernel)


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
    assert model_batchnorm.parse_options(options.split())


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


def anchors(markdown):
    """Return the anchors that GitHub gives to a page's headings."""
    headings = re.findall("^#+ (.+)$", markdown, re.M)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
