"""The network, the settings that suit its BatchNormalization layers, and the fused kernel."""

import copy
import pickle
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from keras.layers import BatchNormalization

import model_batchnorm


def test_layers_outputs_and_parameters():
    model = model_batchnorm.build_model((28, 28, 1), 10)
    table = [(type(layer).__name__, layer.output.shape[1:], layer.count_params())
             for layer in model.layers]
    norm = "BatchNormalization"
    assert table == [
        ("Conv2D", (26, 26, 32), 320), (norm, (26, 26, 32), 128), ("MaxPooling2D", (13, 13, 32), 0),
        (norm, (13, 13, 32), 128), ("Conv2D", (11, 11, 64), 18_496), (norm, (11, 11, 64), 256),
        ("MaxPooling2D", (5, 5, 64), 0), (norm, (5, 5, 64), 256), ("Flatten", (1600,), 0),
        ("Dense", (256,), 409_856), (norm, (256,), 1_024), ("Dense", (10,), 2_570)]
    assert sum(weight.shape[0] for weight in model.non_trainable_weights) == 896
    activations = [layer.activation for layer in model.layers if hasattr(layer, "activation")]
    assert activations == 3 * [keras.activations.relu] + [keras.activations.softmax]

def test_both_networks_start_from_the_same_weights():
    keras.utils.set_random_seed(1)
    layers = model_batchnorm.build_model((28, 28, 1), 10).layers
    keras.utils.set_random_seed(1)
    without = model_batchnorm.build_model((28, 28, 1), 10, batch_norm=False)
    others = keras.Sequential([layer for layer in layers if type(layer) is not BatchNormalization])
    np.testing.assert_equal(others.get_weights(), without.get_weights())
    assert without.count_params() == 431_242

@pytest.mark.parametrize("steps", [1, 5, 23, 65, 66, 1000])
def test_momentum_has_settled_after_an_epoch(steps):
    momentum = model_batchnorm.settled_momentum(steps)
    assert momentum**steps <= 0.001 * (1 + 1e-9)
    assert momentum == 0.9 if steps >= 66 else momentum < 0.9

@pytest.mark.parametrize("num_images", [1, 2, 7, 97, 250, 1149, 5501, 48_000])
def test_even_batch_size_is_the_largest_whose_last_batch_is_half_full(num_images):
    even = [size for size in range(1, 601) if (num_images % size or size) >= size / 2]
    for asked in range(1, 601):
        largest = max(size for size in even if size <= asked)
        assert model_batchnorm.even_batch_size(num_images, asked) == largest
    assert model_batchnorm.even_batch_size(num_images, 2**31 - 1) == 2 * num_images

def step(fused, shape=(8, 4, 4, 3), training=True, mask=None, known=True, jit=False,
         eager=False, **options):
    """Return a layer's outputs, gradients and weights, with the kernel or without."""
    tf.config.experimental.enable_op_determinism()  # as run() does
    rng = np.random.default_rng(0)
    layer = BatchNormalization(momentum=0.7, **options)
    layer.build(shape)
    layer.set_weights([rng.random(weight.shape) + 0.5 for weight in layer.weights])
    if fused:
        model_batchnorm.use_fused_kernel(keras.Sequential([layer]))
    # tf.data may have images of unknown shape; XLA may compute with what bfloat16 rounds away.
    signature = [tf.TensorSpec(shape if known else [None] * len(shape))]
    call = tf.function(lambda x: layer(x, training=training, mask=mask), signature, jit_compile=jit)
    call = call.python_function if eager else call
    x, upstream = tf.cast(tf.cast(rng.normal(2, 3, (2, *shape)), "bfloat16"), "float32")
    variables = [x, *[weight.value for weight in layer.trainable_weights]]
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = call(x)
    assert outputs.dtype == layer.compute_dtype
    gradients = tape.gradient(outputs, variables, tf.cast(upstream, outputs.dtype))
    arrays = [outputs, *gradients, *layer.get_weights()]
    return [np.asarray(array).astype("float64") for array in arrays]

@pytest.mark.parametrize("policy, tolerance", [
    ("float32", 2e-4), ("mixed_bfloat16", 2e-2), ("mixed_float16", 2e-3)])
@pytest.mark.parametrize("call", [
    {}, {"known": False}, {"jit": True}, {"eager": True}, {"training": False}])
@pytest.mark.parametrize("shape", [(250, 7, 5, 3), (1, 1, 1, 3), (33, 6), (1, 6)])
def test_the_kernel_computes_what_keras_does(shape, call, policy, tolerance):
    fused, stock = [step(kernel, shape, dtype=policy, **call) for kernel in (True, False)]
    for one, other in zip(fused, stock, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(1, np.abs(other).max()))
    np.testing.assert_allclose(fused[-2:], stock[-2:], rtol=1e-4)  # the averages are float32

@pytest.mark.parametrize("options", [
    {"shape": (8, 4, 3)}, {"shape": (8, 4, 4, 4, 3)}, {"axis": 1}, {"axis": 2}, {"center": False},
    {"scale": False}, {"trainable": False}, {"dtype": "float64"}, {"dtype": "bfloat16"},
    {"synchronized": True}, {"mask": np.arange(128).reshape(8, 4, 4) % 3 > 0},
    pytest.param({"renorm": True}, marks=pytest.mark.skipif(
        not hasattr(BatchNormalization(), "renorm"), reason="Keras has renorm since 3.14"))])
def test_what_the_kernel_cannot_take_goes_to_keras(options):
    np.testing.assert_equal(step(True, **options), step(False, **options))

def small_run():
    data = [array[:60] for array in model_batchnorm.load_data("digits")[0]]
    model, results = model_batchnorm.run((data, data), epochs=1, batch_size=24, verbose=0)
    return model, results["history"], *data

def test_trains_like_a_backend_that_does_without_the_kernel(monkeypatch):
    fused, history, *_ = small_run()
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    stock, expected, *_ = small_run()
    for model, kernels in (fused, 5), (stock, 0):
        call = tf.function(model).get_concrete_function(tf.zeros((2, 28, 28, 1)), training=True)
        assert [op.type for op in call.graph.get_operations()].count("FusedBatchNormV3") == kernels
    assert history["loss"] == pytest.approx(expected["loss"], rel=1e-3)

@pytest.mark.parametrize("copied", [
    copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))], ids=["deepcopy", "pickle"])
def test_a_model_with_the_kernel_can_be_copied_and_trained_on(copied):
    model, _, x, y = small_run()
    other = copied(model)
    np.testing.assert_allclose(other(x), model(x), atol=1e-6)
    assert np.isfinite(other.train_on_batch(x, y)).all()
    assert type(copied(model.layers[1])) is BatchNormalization

def test_a_saved_model_loads_without_the_script_and_trains_on():
    model, _, x, y = small_run()
    model.save("model.keras")
    np.savez("data.npz", x=x, y=y, expected=model(x))
    subprocess.run([sys.executable, "-c", """
import keras, numpy as np
data, model = np.load("data.npz"), keras.saving.load_model("model.keras")
assert type(model.layers[1]) is keras.layers.BatchNormalization
np.testing.assert_allclose(model(data["x"]), data["expected"], atol=1e-5)
model.train_on_batch(data["x"], data["y"])
"""], check=True)

def test_the_readmes_code_runs_and_fine_tuning_keeps_the_moving_averages():
    small_run()[0].save("model.keras")
    readme = (ROOT / "README.md").read_text("utf-8")
    layer, fine_tuning = re.findall(r"```python\n([^`]*)```", readme)
    for code in layer, fine_tuning + """
import numpy as np
x, kept = np.random.rand(60, 28, 28, 1), body[1].get_weights()
fine_tuned.compile("adam", "sparse_categorical_crossentropy")
fine_tuned.fit(x, np.arange(60) % 5, verbose=0)
np.testing.assert_equal(body[1].get_weights(), kept)
""":
        subprocess.run([sys.executable, "-c", code], check=True)
