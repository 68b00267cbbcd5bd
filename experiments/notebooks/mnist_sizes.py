# %% [markdown]
# # How many images per class does a frozen ImageNet network need to read digits?
#
# MNIST is scaled to 224 by 224; a new random last layer is trained on the features of frozen networks, with 10 to 90
# training images of each class.
#
# Run it from top to bottom in its run folder. Features are computed once and kept in `checkpoints/activations` (removed
# when the run is done); each training keeps a checkpoint, and one that is finished is read back.

# %% parameters
data = None  # None: MNIST, or the embedded digits where it cannot be had
data_dir = None
backbone = "resnet50,vgg19"
weights = "imagenet"  # one for all, or one for each backbone: imagenet, none or a file
sizes = "10,30,50,70,90"
epochs = 50
batch_size = 32
lr = None  # None: 0.01
activations = "float32"
limit = None
validation = 40  # images per class that pick the epoch honestly
test_limit = None
seed = 0
seeds = 5  # draws of each training set
precision = "float32"

# %%
from tl_keras import quiet

quiet.import_tensorflow()

from dataclasses import replace
from pathlib import Path

import numpy as np
from IPython import get_ipython
from sklearn.metrics import classification_report

from tl_keras.data import lazy, sources, splits
from tl_keras.evaluation import epoch_choice, predictions
from tl_keras.models import backbones, heads
from tl_keras.reporting import figures
from tl_keras.reporting import sizes as learning_curve
from tl_keras.run_folder import RunFolder
from tl_keras.training import loop, runtime
from tl_keras.training.schedules import Recipe
from tl_keras.transfer import frozen, strategies
from tl_keras.transfer.activations import Storage, store

get_ipython().run_line_magic("matplotlib", "inline")
out = RunFolder(Path())

# %% [markdown]
# ## Data
#
# Some images of each class are put aside to pick the epoch honestly. From the rest each draw takes the largest set; its
# smaller sets are parts of that.

# %%
images = sources.load(data or "mnist", data_dir, fallback=data is None)
train = splits.limit(images.train, limit, seed)
test = splits.limit(images.test, test_limit or limit, seed)
kept_aside, rest = splits.per_class(train, validation, seed)
counts = sorted({int(text) for text in sizes.split(",")})
draws = [{count: splits.per_class(rest, count, seed + draw)[0].ids for count in counts} for draw in range(seeds)]
drawn = rest.take(np.flatnonzero(np.isin(rest.ids, np.concatenate([draw[counts[-1]] for draw in draws]))))
print(f"{images.name}: {len(drawn):,} training images in all draws, {len(kept_aside)} validation, {len(test):,} test")

# %% [markdown]
# ## Features, once for each network
#
# Everything but the last layer is frozen. What the frozen part makes of an image is computed once and serves all sizes
# and draws.


# %%
def features(name, file):
    runtime.prepare(seed, precision)
    network = backbones.build(name, len(test.class_names), file)
    model = heads.with_softmax(network)
    strategies.set_trainable(model, strategies.Phase(last_layers=1))
    prefix, suffix = frozen.split_frozen(model)
    storage = Storage(out.activations, activations)
    stored = []
    for split in (drawn, kept_aside, test):
        seen = replace(split, images=lazy.Resized(split.images, (224, 224)))
        stored.append(replace(split, images=store(prefix, seen, storage)[0]))
    return network.name, suffix, stored


# %% [markdown]
# ## A new last layer for every size and draw
#
# AdamW at a constant rate. The very same training runs twice, bit for bit: measured on the test images after every
# epoch, and on the validation images.


# %%
def train_head(name, suffix, part, measured, number):
    runtime.prepare(number, precision)
    head = heads.renewed(suffix)
    recipe = Recipe(
        epochs,
        batch_size,
        learning_rate=float(lr or 1e-2),
        schedule="constant",
        weight_decay=0.0,
        label_smoothing=0.0,
        seed=number,
    )
    return head, loop.fit(name, head, part, measured, recipe, out)


choices, largest = {}, {}
names, files = backbone.split(","), weights.split(",")
for name, file in zip(names, files * len(names), strict=False):
    short, suffix, (features_drawn, features_validation, features_test) = features(name, file)
    for size in counts:
        for draw, ids in enumerate(draws):
            part = features_drawn.take(np.flatnonzero(np.isin(drawn.ids, ids[size])))
            file_name = f"{short}_{size}" + (f"_draw{draw + 1}" if draw else "")
            _, validated = train_head(f"{file_name}_validation", suffix, part, features_validation, seed + draw)
            head, trained = train_head(file_name, suffix, part, features_test, seed + draw)
            choice = epoch_choice.choose(validated.history["val_accuracy"], trained.history["val_accuracy"])
            choices.setdefault((short, size), []).append(choice)
            if size == counts[-1] and not draw:
                largest[short] = predictions.predict(head, features_test), trained.history

# %% [markdown]
# ## Test error against train size

# %%
print(learning_curve.table(choices).text)


# %%
def chart(title, pick, value, label):
    curves = {}
    for name in largest:
        intervals = [epoch_choice.over_draws(choices[name, size], pick, value) for size in counts]
        curves[name] = np.array([(each.mean, each.low, each.high) for each in intervals])
    return figures.trends(title, counts, curves, "Training images of each class", label)


chart("Lowest test error", "by_test", "error", "Test error")

# %%
chart("Test error, epoch picked on validation images", "by_validation", "error", "Test error")

# %%
chart("Epochs to the best test accuracy", "by_test", "epoch", "Epochs")

# %% [markdown]
# ## The largest sets

# %%
figures.compare({name: history for name, (_, history) in largest.items()})

# %%
for name, (predicted, _) in largest.items():
    print(name)
    print(
        classification_report(
            predicted.labels,
            predicted.classes,
            labels=range(len(test.class_names)),
            target_names=test.class_names,
            digits=3,
            zero_division=0,
        )
    )

# %%
shown = np.sort(np.random.default_rng(0).choice(len(test), min(24, len(test)), replace=False))
name, (predicted, _) = next(iter(largest.items()))
figures.samples(
    test.images[shown],
    predicted.labels[shown],
    predicted.classes[shown],
    predicted.probabilities.max(axis=1)[shown],
    test.class_names,
    name,
)

# %% [markdown]
# ## Conclusion
#
# Computed from the numbers above.

# %%
for sentence in learning_curve.sentences(choices):
    print("-", sentence)
