"""Is it the same with SGD on all images?"""

from dataclasses import replace

from questions import sgd_learning_rates

SEEDS = 3
# Each network's best rate on 10,000 images (by validation), and ten times the lower one.
RATES = 0.3, 1.0, 3.0
RUNS = {
    (name, rate): replace(run, train_images=None, batch_size=250)
    for (name, rate), run in sgd_learning_rates.RUNS.items()
    if rate in RATES
}
report = sgd_learning_rates.report
