# %% [markdown]
# # Five classes of Tiny-ImageNet: feature extraction or fine-tuning?
#
# Assignment 3 of CS5304 in Keras. `model_ft` is a new last layer on fixed features, `model_cnn` the fine-tuned network.
#
# Run it from top to bottom in its run folder. Each training keeps a checkpoint in `checkpoints/`: one that is finished
# is read back instead of being repeated, one that was stopped goes on. Remove that folder to train everything anew.

# %% parameters
data = None  # None: tiny-imagenet-5 in the data directory, or the embedded digits where it cannot be had
data_dir = None
backbone = "vgg16"
weights = "imagenet"  # or a weight file, or none
strategy = "full"  # how model_cnn is fine-tuned
stages = 1
train_batch_norm = False
epochs = 50
batch_size = 32
lr = None  # None: the study's, one for each approach; find: a range test
views = 4  # augmented versions of each image for feature extraction
activations = "float32"
limit = None
seed = 0
seeds = 1
precision = "float32"

# %%
from tl_keras import quiet

quiet.import_tensorflow()

from dataclasses import replace
from pathlib import Path

import numpy as np
from IPython import get_ipython
from sklearn.metrics import classification_report, confusion_matrix

from tl_keras.data import sources, splits
from tl_keras.data.augment import FlipShift
from tl_keras.evaluation import outcome
from tl_keras.models import backbones, heads
from tl_keras.reporting import conclusion, figures
from tl_keras.run_folder import RunFolder
from tl_keras.training import loop, lr_range, runtime
from tl_keras.training.schedules import Recipe
from tl_keras.transfer.activations import Storage
from tl_keras.transfer.strategies import find

get_ipython().run_line_magic("matplotlib", "inline")
out = RunFolder(Path())

# %% [markdown]
# ## Data
#
# All images are scaled to 224 by 224 pixels, as the grader does it. Training images are mirrored and shifted at random.
# The validation images are the test.

# %%
images = sources.load(data or "tiny-imagenet-5", data_dir, size=(224, 224), fallback=data is None)
train, test = (splits.limit(split, limit, seed) for split in (images.train, images.test))
augment = FlipShift(flip=images.name not in ("digits", "mnist"))
print(f"{images.name}: {len(train):,} training and {len(test):,} validation images of", *train.class_names)
print(f"{len(images.quarantine)} images were left out", *images.quarantine, sep="\n")

# %% [markdown]
# ## Training
#
# BatchNorm layers stay frozen unless asked otherwise: their statistics were learned from a million images. The
# learning rate rises to its peak and falls to zero along a cosine.


# %%
approaches = {
    "model_ft": replace(find("last_layer", stages, train_batch_norm), title="feature extraction"),
    "model_cnn": replace(find(strategy, stages, train_batch_norm), title="fine-tuning"),
}
recipes = {
    "model_ft": {"learning_rate": 1e-2, "optimizer": "sgd", "weight_decay": 0.5},
    "model_cnn": {"learning_rate": 3e-4, "optimizer": "adamw", "weight_decay": 0.02},
}


def train_one(approach, seed, name):
    runtime.prepare(seed, precision)
    model = heads.with_softmax(backbones.build(backbone, len(train.class_names), weights))
    recipe = Recipe(
        epochs,
        batch_size,
        **recipes[approach],
        views=views if approach == "model_ft" else None,
        seed=seed,
    )
    if lr not in (None, "find"):
        recipe = replace(recipe, learning_rate=float(lr))
    phases = approaches[approach].phases
    if lr == "find":
        found = lr_range.find(model, train, recipe, phases[0], augment=augment)
        recipe = replace(recipe, learning_rate=found.suggestion)
    storage = Storage(out.activations, activations)
    trained = loop.fit(name, model, train, test, recipe, out, augment=augment, phases=phases, storage=storage)
    return outcome.measure(model, trained, seed, train, test, out)


networks = []
for name, approach in approaches.items():
    outcomes = [
        train_one(name, number, name if number == seed else f"{name}_seed{number}")
        for number in range(seed, seed + seeds)
    ]
    networks.append(outcome.Network(name, approach.title, tuple(outcomes)))

# %%
figures.compare({network.title: network.first.training.history for network in networks})

# %% [markdown]
# ## Comparison
#
# Accuracies on the test images after the last epoch. The interval is Student's over the seeds, or Wilson's for the
# finite test set where there is one seed.

# %%
for network in networks:
    first = network.first
    right = ", ".join(f"{each.test.correct.sum()}/{len(each.test.labels)}" for each in network.outcomes)
    print(
        f"{network.title:<30} test {conclusion.percent(network)} ({right})   train {first.train_accuracy:.2%}"
        f"   {first.training.seconds:6.1f} s   {first.training.trainable_parameters:,} weights trained"
    )

# %%
intervals = {network.title: network.interval() for network in networks}
figures.bars({title: (each.mean, each.low, each.high) for title, each in intervals.items()}, "test accuracy")

# %% [markdown]
# ## Errors and samples

# %%
best = max(networks, key=lambda network: network.accuracy)
predicted, class_names = best.first.test, test.class_names
print(classification_report(predicted.labels, predicted.classes, labels=range(len(class_names)),
                            target_names=class_names, digits=3, zero_division=0))  # fmt: skip
figures.confusion(
    confusion_matrix(predicted.labels, predicted.classes, labels=range(len(class_names))), class_names, best.title
)

# %%
shown = np.sort(np.random.default_rng(0).choice(len(test), min(24, len(test)), replace=False))
figures.samples(
    test.images[shown],
    predicted.labels[shown],
    predicted.classes[shown],
    predicted.probabilities.max(axis=1)[shown],
    class_names,
    best.title,
)

# %% [markdown]
# ## Conclusion
#
# Computed from the numbers above.

# %%
first, *others = networks
for sentence in conclusion.verdict(networks) + conclusion.transfer_effects(others, first):
    print("-", sentence)
