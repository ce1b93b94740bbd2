"""The network, and the faster Batch Normalization that it trains with."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import model_batchnorm
from model_batchnorm import use_fused_kernel
from runs import norms


@pytest.fixture
def model():
    return model_batchnorm.build_model((28, 28, 1), 10)


# The network.


def test_prepared_images_are_float32_from_0_to_1_with_a_channel_axis():
    images = np.full((3, 32, 32), [[[0]], [[51]], [[255]]], "uint8")
    prepared = model_batchnorm.prepare(images)
    assert prepared.dtype == "float32"
    assert prepared.shape == (3, 32, 32, 1)
    np.testing.assert_allclose(prepared[:, 0, 0, 0], [0, 0.2, 1])


def test_the_network_has_the_articles_layers(model):
    table = [
        (type(layer).__name__, layer.output.shape[1:], layer.count_params())
        for layer in model.layers
    ]
    assert table == [
        ("Conv2D", (26, 26, 32), 320),
        ("BatchNormalization", (26, 26, 32), 128),
        ("MaxPooling2D", (13, 13, 32), 0),
        ("BatchNormalization", (13, 13, 32), 128),
        ("Conv2D", (11, 11, 64), 18_496),
        ("BatchNormalization", (11, 11, 64), 256),
        ("MaxPooling2D", (5, 5, 64), 0),
        ("BatchNormalization", (5, 5, 64), 256),
        ("Flatten", (1600,), 0),
        ("Dense", (256,), 409_856),
        ("BatchNormalization", (256,), 1_024),
        ("Dense", (10,), 2_570),
    ]


def test_896_of_433034_parameters_are_not_trained(model):
    assert model.count_params() == 433_034
    assert sum(weight.shape[0] for weight in model.non_trainable_weights) == 896


def test_without_the_layers_431242_parameters_are_left():
    model = model_batchnorm.build_model((28, 28, 1), 10, batch_norm=False)
    assert model.count_params() == 431_242


def test_both_networks_start_with_the_same_kernels():
    kernels = []
    for batch_norm in True, False:
        keras.utils.set_random_seed(1)
        model = model_batchnorm.build_model((28, 28, 1), 10, batch_norm=batch_norm)
        kernels.append(
            [layer.kernel.numpy() for layer in model.layers if hasattr(layer, "kernel")]
        )
    assert len(kernels[0]) == 4
    np.testing.assert_equal(kernels[0], kernels[1])


def test_the_momentum_is_that_of_every_layer():
    model = model_batchnorm.build_model((28, 28, 1), 10, momentum=0.3)
    assert [layer.momentum for layer in norms(model)] == [0.3] * 5


def test_mixed_precision_still_returns_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = model_batchnorm.build_model((28, 28, 1), 10)
    assert model.layers[0].compute_dtype == "bfloat16"
    assert model.outputs[0].dtype == "float32"


# The fused kernel computes what Keras does.


def step(
    fused,
    shape=(8, 4, 4, 3),
    *,
    kind=layers.BatchNormalization,
    training=True,
    mask=None,
    frozen=False,
    jit_compile=False,
    **options,
):
    """Make a layer, freeze it if so asked, and call it once.

    Returns a list of its outputs, the gradients and its weights afterwards, and the number
    of fused kernels in the graph.
    """
    random = np.random.default_rng(0)
    # XLA may compute with what bfloat16 rounds away, so the inputs are rounded before.
    x = tf.cast(tf.cast(random.normal(2, 3, shape), "bfloat16"), "float32")
    upstream = tf.cast(random.normal(size=shape), "float32")
    layer = kind(**options)
    layer.build(shape)
    layer.set_weights([random.random(weight.shape) + 0.5 for weight in layer.weights])

    @tf.function(jit_compile=jit_compile)
    def call(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=training, mask=mask)
            loss = tf.reduce_sum(tf.cast(outputs, "float32") * upstream)
        variables = [x, *(weight.value for weight in layer.trainable_weights)]
        return outputs, tape.gradient(loss, variables)

    if fused:
        use_fused_kernel(keras.Sequential([layer]))
    layer.trainable = not frozen
    outputs, gradients = call(x)
    kernels = count_kernels(call, x)
    assert outputs.dtype == layer.compute_dtype
    arrays = [outputs, *gradients, *layer.get_weights()]
    return [np.asarray(array).astype("float32") for array in arrays], kernels


def count_kernels(function, *arguments, **options):
    """Return how many fused kernels a tf.function's graph has."""
    graph = function.get_concrete_function(*arguments, **options).graph
    operations = [operation.type for operation in graph.get_operations()]
    return operations.count("FusedBatchNormV3")


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("shape", [(250, 7, 5, 3), (2, 5, 5, 3)])
@pytest.mark.parametrize(
    ("policy", "tolerance"),
    [("float32", 2e-4), ("mixed_bfloat16", 2e-2), ("mixed_float16", 2e-3)],
)
def test_the_kernel_computes_what_keras_does(policy, tolerance, shape, jit_compile):
    keras.config.set_dtype_policy(policy)
    options = {"jit_compile": jit_compile, "momentum": 0.7, "epsilon": 0.1}
    fused, kernels = step(True, shape, **options)
    stock, _ = step(False, shape, **options)
    assert kernels == 1
    for one, other in zip(fused, stock):
        atol = tolerance * max(1, np.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)
    np.testing.assert_allclose(fused[-2:], stock[-2:], rtol=1e-4)  # averages: float32


class Doubled(layers.BatchNormalization):
    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training=training, mask=mask)


UNKNOWN = [
    {"kind": Doubled},
    {"axis": 1},
    {"center": False},
    {"frozen": True},  # after use_fused_kernel()
    {"training": False},
    {"shape": (8, 4)},
    {"mask": np.arange(128).reshape(8, 4, 4) % 3 > 0},
]
if hasattr(layers.BatchNormalization(), "renorm"):  # since Keras 3.14
    UNKNOWN.append({"renorm": True})


@pytest.mark.parametrize("options", UNKNOWN, ids=lambda options: next(iter(options)))
def test_what_the_kernel_cannot_do_is_left_to_keras(options):
    fused, kernels = step(True, **options)
    stock, _ = step(False, **options)
    assert kernels == 0
    np.testing.assert_equal(fused, stock)


# Which layers train with the kernel.


def kernels_in_training(model):
    """Return how many of the model's layers train with the fused kernel now."""
    shape = (2, *model.input_shape[1:])
    return count_kernels(tf.function(model), tf.zeros(shape), training=True)


def test_the_four_layers_after_convolutions_and_poolings_use_the_kernel(model):
    use_fused_kernel(model)
    assert kernels_in_training(model) == 4


def test_a_nested_model_is_left_alone(model):
    outer = keras.Sequential([keras.Input((28, 28, 1)), model])
    use_fused_kernel(outer)
    assert kernels_in_training(outer) == 0


def test_with_another_backend_the_layers_are_left_alone(model, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    use_fused_kernel(model)
    assert kernels_in_training(model) == 0


def test_a_saved_network_computes_the_same_without_the_script(model, tmp_path):
    x = np.random.default_rng(0).random((4, 28, 28, 1), "float32")
    use_fused_kernel(model)
    model(x, training=True)
    model.save("model.keras")
    np.save("x.npy", x)
    code = """
import keras, numpy as np
model = keras.saving.load_model("model.keras")
np.save("y.npy", model(np.load("x.npy")))
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load("y.npy"), model(x), atol=1e-6)
