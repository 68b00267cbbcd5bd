# %% [markdown]
# # Re-using a network trained on ImageNet: fine-tune it, or train only a new last layer?
#
# The transfer-learning tutorial of PyTorch in Keras, on photographs of ants and bees or on a data set of your own.
#
# Run it from top to bottom in its run folder. Each training keeps a checkpoint in `checkpoints/`: one that is finished
# is read back instead of being repeated, one that was stopped goes on. Remove that folder to train everything anew.

# %% parameters
data = None  # None: hymenoptera in the data directory, or the embedded digits where it cannot be had
data_dir = None
backbone = "torch_resnet18"
weights = "imagenet"  # or a weight file, or none
strategies = "last_layer,full"
stages = 1
train_batch_norm = False
epochs = 25
batch_size = 4
lr = None  # None: the tutorial's 0.001; find: a range test
views = None  # versions of each image; 0: the images as they are; None: a new version every epoch
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

from tl_keras.data import lazy, sources, splits
from tl_keras.data.augment import RandomResizedCrop
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
# Images are scaled to a short side of 256 pixels and cut square. Training sees random crops of that square, scaled to
# 224 by 224 and mirrored at random; what is measured is the centre of 224 by 224.

# %%
images = sources.load(data or "hymenoptera", data_dir, size=(256, 256), fallback=data is None)
train, test = (splits.limit(split, limit, seed) for split in (images.train, images.test))
seen_train, seen_test = (replace(split, images=lazy.CenterCrop(split.images, (224, 224))) for split in (train, test))
augment = None if views == 0 else RandomResizedCrop((224, 224), flip=images.name not in ("digits", "mnist"))
train = train if augment else seen_train
print(f"{images.name}: {len(train):,} training and {len(test):,} test images of", *train.class_names)
print(f"{len(images.quarantine)} images were left out", *images.quarantine, sep="\n")

# %% [markdown]
# ## Training
#
# A strategy says which layers train. BatchNorm layers stay frozen unless asked otherwise: their statistics were learned
# from a million images. SGD with momentum 0.9; the rate falls to a tenth every seven epochs. A last layer that trains
# alone has a strong weight decay, chosen in cross-validation of training images: without it, it fits them perfectly.
# Elsewhere the norm of the gradients is bounded: with frozen BatchNorm a few large ones can ruin a network.


# %%
def train_one(strategy, seed, name):
    runtime.prepare(seed, precision)
    start = "none" if strategy.name == "scratch" else weights
    model = heads.with_softmax(backbones.build(backbone, len(train.class_names), start))
    recipe = Recipe(
        epochs,
        batch_size,
        learning_rate=1e-3 if lr in (None, "find") else float(lr),
        optimizer="sgd",
        schedule="steps",
        weight_decay=20.0 if strategy.name == "last_layer" else 0.0,
        clip_norm=None if strategy.name == "last_layer" else 1.0,
        label_smoothing=0.0,
        views=views or None,
        seed=seed,
    )
    if lr == "find":
        found = lr_range.find(model, train, recipe, strategy.phases[0], augment=augment)
        recipe = replace(recipe, learning_rate=found.suggestion)
    storage = Storage(out.activations, activations)
    trained = loop.fit(
        name, model, train, seen_test, recipe, out, augment=augment, phases=strategy.phases, storage=storage
    )
    return outcome.measure(model, trained, seed, seen_train, seen_test, out)


networks = []
for strategy in [find(name.strip(), stages, train_batch_norm) for name in strategies.split(",")]:
    outcomes = [
        train_one(strategy, number, strategy.name if number == seed else f"{strategy.name}_seed{number}")
        for number in range(seed, seed + seeds)
    ]
    networks.append(outcome.Network(strategy.name, strategy.title, tuple(outcomes)))

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
    seen_test.images[shown],
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
