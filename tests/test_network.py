"""The network and its BatchNormalization layer."""

import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import model_batchnorm
from conftest import learnable

Stock = keras.layers.BatchNormalization
Fused = model_batchnorm.BatchNormalization


def test_layers_shapes_and_parameters():
    model = model_batchnorm.build_model((28, 28, 1), 10)
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
    assert model.count_params() == 433_034
    assert sum(int(np.prod(w.shape)) for w in model.non_trainable_weights) == 896
    activations = [layer.activation for layer in model.layers if hasattr(layer, "activation")]
    assert [function.__name__ for function in activations] == ["relu", "relu", "relu", "softmax"]
    norms = [layer for layer in model.layers if isinstance(layer, Stock)]
    assert {(n.momentum, n.epsilon, n.center, n.scale) for n in norms} == {(0.9, 0.001, True, True)}
    assert not model.compiled


def test_without_batch_norm():
    model = model_batchnorm.build_model((28, 28, 1), 49, batch_norm=False)
    assert not [layer for layer in model.layers if isinstance(layer, Stock)]
    assert model.count_params() == 431_242 + 39 * 257
    assert model.output_shape == (None, 49)


def test_both_networks_start_from_the_same_weights():
    starts = []
    for batch_norm in True, False:
        keras.utils.set_random_seed(1)
        model = model_batchnorm.build_model((28, 28, 1), 10, batch_norm)
        starts.append([w.numpy() for layer in model.layers if not isinstance(layer, Stock)
                       for w in layer.weights])
    for one, other in zip(*starts, strict=True):
        np.testing.assert_array_equal(one, other)


def test_smallest_images():
    model = model_batchnorm.build_model((10, 10, 3), 2)
    assert model.output_shape == (None, 2)
    assert model.layers[7].output.shape == (None, 1, 1, 64)  # one pixel less would leave none


@pytest.mark.parametrize("steps", [1, 5, 23, 65, 66, 1000])
def test_momentum_has_settled_after_an_epoch(steps):
    momentum = model_batchnorm.settled_momentum(steps)
    assert momentum**steps <= 0.001 * (1 + 1e-9)
    assert momentum == 0.9 if steps >= 66 else momentum < 0.9


def twins(shape, **options):
    """A fused and a stock layer with the same random weights, built for inputs of a shape."""
    rng = np.random.default_rng(3)
    layers = Fused(**options), Stock(**options)
    for layer in layers:
        layer.build(shape)
    weights = [rng.random(w.shape) + 0.5 for w in layers[0].weights]
    for layer in layers:
        layer.set_weights(weights)
    return layers


def kernels(layer, inputs, **options):
    """Whether a call of the layer runs the fused kernel, and the call's result."""
    function = tf.function(lambda x: layer(x, **options))
    graph = function.get_concrete_function(inputs).graph
    return any("FusedBatchNorm" in op.type for op in graph.get_operations()), function(inputs)


@pytest.mark.parametrize(
    "shape, jit_compile",
    [((250, 7, 5, 3), False), ((33, 7, 5, 3), False), ((1, 7, 5, 3), False), ((1, 1, 1, 3), False),
     ((250, 6), False), ((33, 6), False), ((1, 6), False), ((33, 7, 5, 3), True), ((1, 6), True)])
def test_training_computes_what_the_stock_layer_does(shape, jit_compile):
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(2, 3, shape).astype("float32"))
    upstream = tf.constant(rng.normal(size=shape).astype("float32"))
    results = []
    for layer in twins(shape, momentum=0.7):

        @tf.function(jit_compile=jit_compile)
        def step(x, upstream, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(x)
                outputs = layer(x, training=True)
            variables = [x, layer.gamma.value, layer.beta.value]
            return outputs, *tape.gradient(outputs, variables, output_gradients=upstream)

        results.append([*step(x, upstream), *layer.get_weights()])
    assert kernels(layer, x, training=True)[0] is False  # so it is two ways that are compared
    for fused, stock in zip(*results, strict=True):
        np.testing.assert_allclose(fused, stock, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("shape", [(33, 7, 5, 3), (33, 6), (1, 6)])
def test_inference_computes_what_the_stock_layer_does(shape):
    x = np.random.default_rng(0).normal(2, 3, shape).astype("float32")
    fused, stock = (np.asarray(layer(x)) for layer in twins(shape))
    np.testing.assert_allclose(fused, stock, rtol=1e-5, atol=1e-5)


def test_the_kernel_is_used_for_four_and_two_dimensions():
    for shape in (8, 4, 4, 3), (8, 3):
        for training in True, False:
            assert kernels(Fused(), np.ones(shape, "float32"), training=training)[0]


@pytest.mark.parametrize(
    "shape, options, call",
    [
        ((8, 4, 3), {}, {}),
        ((8, 4, 4, 4, 3), {}, {}),
        ((8, 3, 4, 4), {"axis": 1}, {}),
        ((8, 4, 3, 4), {"axis": 2}, {}),
        ((8, 4, 4, 3), {"center": False}, {}),
        ((8, 4, 4, 3), {"scale": False}, {}),
        ((8, 4, 4, 3), {"trainable": False}, {}),
        ((8, 4, 4, 3), {"dtype": "float64"}, {}),
        ((8, 4, 4, 3), {"dtype": "mixed_float16"}, {}),
        ((8, 4, 4, 3), {"synchronized": True}, {}),
        ((8, 4, 4, 3), {}, {"mask": np.arange(8 * 4 * 4).reshape(8, 4, 4) % 3 > 0}),
    ],
)
def test_everything_else_is_the_stock_layer(shape, options, call):
    inputs = np.random.default_rng(0).normal(2, 3, shape).astype("float32")
    fused, stock = twins(shape, **options)
    used, outputs = kernels(fused, inputs, training=True, **call)
    assert not used
    np.testing.assert_array_equal(outputs, kernels(stock, inputs, training=True, **call)[1])
    for one, other in zip(fused.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_backend_uses_the_stock_layer(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert not kernels(Fused(), np.ones((8, 4, 4, 3), "float32"), training=True)[0]


def stock_twin(model):
    """The same network of stock layers, with the same weights."""
    twin = keras.Sequential([keras.Input(model.input_shape[1:])] + [
        (Stock if isinstance(layer, Fused) else type(layer)).from_config(layer.get_config())
        for layer in model.layers])
    twin.set_weights(model.get_weights())
    return twin


def test_three_steps_of_training_agree_and_weights_are_exchangeable():
    images, labels = learnable(90)
    x = (images / 255).astype("float32")[..., None]
    keras.utils.set_random_seed(5)
    fused = model_batchnorm.build_model((28, 28, 1), 10)
    stock = stock_twin(fused)
    losses = []
    for model in fused, stock:
        model.compile(keras.optimizers.Adam(), "sparse_categorical_crossentropy")
        losses.append([
            model.train_on_batch(x[i : i + 30], labels[i : i + 30]) for i in (0, 30, 60)])
    np.testing.assert_allclose(*losses, rtol=1e-4)
    for one, other in zip(fused.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)  # Adam scales any rounding to its step
    for source, target in (stock, fused), (fused, stock):
        target.set_weights(source.get_weights())
        np.testing.assert_allclose(np.asarray(fused(x)), np.asarray(stock(x)), atol=1e-5)


def test_saved_file_holds_stock_layers_only(tmp_path):
    model = model_batchnorm.build_model((28, 28, 1), 10)
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        config = json.loads(file.read("config.json"))
    layers = config["config"]["layers"]
    assert {layer["module"] for layer in layers} == {"keras.layers"}
    stock = stock_twin(model)
    stock.save_weights(tmp_path / "stock.weights.h5")
    model.load_weights(tmp_path / "stock.weights.h5")
