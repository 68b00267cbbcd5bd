# %% [markdown]
# # Naming images by features of trained networks and a kernel head
#
# There are folders of images, one for each class, and test images whose classes are hidden: this notebook names them in
# `<ROLL>_06.csv`. It needs Keras 3 with TensorFlow, scikit-learn, Pillow and matplotlib; no GPU.
#
# **Strategy.** A hundred images of each class are few to train a network on. So networks that were trained on the 1.3
# million photographs of ImageNet are used as they are: each turns an image into some hundred numbers, its *features*.
# Those of several networks and sizes are put side by side. On them a small classifier, the *head*, is solved exactly.
# It compares an image with every training image (a *kernel* method): a class may have several groups that look unlike.
#
# **What is measured.** The training images are dealt into five folds. Each fold is named by a head that was solved on
# the other four, so every training image is named once by a head that has not seen it: *out of fold*. All choices are
# made by that, and all figures show it. The test images are named by a head that was solved on all training images.
# Beside a finished run (`RUN = "."`) its network and its predictions are read instead.

# %% parameters
ROLL = "2020387499"  # the files that are handed in begin with it
DATA = "data"  # this folder has train/CLASS/*.jpg and test/*.jpg
SAMPLE = None  # a sample of the predictions file: its header and its order of images are taken over
# (network, "imagenet" or a file of weights without top, size of the images, how many middle stages are read)
BLOCKS = [("mobilenet_v2_1.0", "imagenet", 224, 1), ("mobilenet_v2_1.0", "imagenet", 160, 1)]
LOADED = 256  # the images are held at this size, and scaled to those above
MIRROR = True  # features are averaged over an image and its mirror image; not for letters, for example
FOLDS = 5
SEED = 0
COORDINATES = 1024  # at most so many numbers describe an image in the end
WIDTH = None  # of the kernel; None: chosen out of fold
PENALTY = None  # of the ridge regression; None: chosen out of fold
SHARPNESS = None  # how sure the probabilities are; None: chosen out of fold
LIMIT = None  # at most so many training images of each class, for a quick try
RUN = None  # the folder of a finished run, "." for this one: its results are read, nothing is computed anew
NETWORK = "kernel"  # what is read of that run

# %%
import csv
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # TensorFlow without its remarks on the machine
shown, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(nowhere, 2)
import keras

os.dup2(shown, 2)
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import PowerNorm
from PIL import Image, ImageOps
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import binomtest
from sklearn.metrics import auc, confusion_matrix, f1_score, log_loss, roc_curve
from sklearn.utils.extmath import randomized_svd

print(f"Keras {keras.__version__} on {keras.backend.backend()}")

# %% [markdown]
# ## Images
#
# An image is turned upright, scaled until it covers the square, and its centre is cut out: nothing is squashed. Classes
# that are called by numbers stand in the order of these. Copies of an image come into the same fold, otherwise a head
# would be asked about an image that it was solved on; one that lies in two classes is left out.


# %%
def files_in(*folder):
    """The files below a folder of DATA, hidden ones left out, relative to DATA."""
    found = sorted(path.relative_to(DATA) for path in Path(DATA, *folder).rglob("*") if path.is_file())
    return [path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)]


def fit(image, size):
    """A Pillow image as (size, size, 3), bilinear; what is made smaller is averaged, not skipped."""
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR))


def read(file, size):
    """An image of DATA, uint8 (size, size, 3); None if it cannot be read."""
    try:
        with Image.open(Path(DATA, file)) as image:
            return fit(ImageOps.exif_transpose(image).convert("RGB"), size)
    except Exception as error:
        print(f"WARNING: {file} cannot be read: {type(error).__name__}")
        return None


def load(files, size):
    """The images that can be read, (N, size, size, 3), and their files."""
    images, kept = np.empty((len(files), size, size, 3), "uint8"), list[str]()
    with ThreadPoolExecutor() as pool:
        for file, image in zip(files, pool.map(lambda file: read(file, size), files), strict=True):
            if image is not None:
                images[len(kept)] = image
                kept.append(file)
    return images[: len(kept)], np.array(kept, dtype=str)


class_names = sorted(entry.name for entry in Path(DATA, "train").iterdir() if entry.is_dir() and entry.name[0] != ".")
if all(map(str.isdecimal, class_names)):
    class_names.sort(key=int)
class_of = {file: k for k, name in enumerate(class_names) for file in files_in("train", name)}
test_files = files_in("test")
print(f"{len(class_names)} classes, {len(class_of):,} training images, {len(test_files):,} test images")


# %%
def copies(images):
    """For each image the number of the first one with the same pixels, numbered as they come."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(image.tobytes(), len(numbers)) for image in images])


def fold_of(labels, group):
    """The fold that holds out each image; -1 for the only image of its class, which always stays in training."""
    first = np.unique(group, return_index=True)[1]
    order = np.random.default_rng(SEED).permutation(len(first))
    order = order[np.argsort(labels[first][order], kind="stable")]
    dealt = np.empty(len(first), dtype=int)
    dealt[order] = np.arange(len(first)) % FOLDS  # class after class, like cards
    folds = dealt[group]
    for fold in range(FOLDS):
        lost = np.setdiff1d(labels[folds == fold], labels[folds != fold])
        folds[np.isin(group, group[(folds == fold) & np.isin(labels, lost)])] = -1
    return folds


if RUN is None:
    order = np.random.default_rng(SEED).permutation(sorted(class_of)).tolist()
    drawn = [file for k in range(len(class_names)) for file in [each for each in order if class_of[each] == k][:LIMIT]]
    images, files = load(sorted(drawn), LOADED)
    labels, group = np.array([class_of[file] for file in files]), copies(images)
    first = labels[np.unique(group, return_index=True)[1]]
    clear = ~np.isin(group, group[labels != first[group]])
    if not clear.all():
        print(f"WARNING: {(~clear).sum()} images lie in two classes, and are left out")
        images, files, labels, group = images[clear], files[clear], labels[clear], copies(images[clear])
    folds = fold_of(labels, group)
    tests, read_tests = load(test_files, LOADED)

# %% [markdown]
# ## Features
#
# A network halves the image five times. What it sees then, averaged over all places, describes what the image is of.
# The end of the stage before sees smaller parts, such as textures, and is taken too. An image and its mirror image show
# the same thing: the average of their features is less noisy than either.

# %%
NETWORKS = {  # the network, and where each of its stages but the last one ends
    "mobilenet": ("MobileNet", "conv_pw_1_relu conv_pw_3_relu conv_pw_5_relu conv_pw_11_relu"),
    "mobilenet_v2": ("MobileNetV2", "block_1_expand_relu block_3_expand_relu block_6_expand_relu block_13_expand_relu"),
    "resnet50": ("ResNet50", "conv1_relu conv2_block3_out conv3_block4_out conv4_block6_out"),
    "vgg16": ("VGG16", "block1_conv2 block2_conv2 block3_conv3 block4_conv3"),
    "vgg19": ("VGG19", "block1_conv2 block2_conv2 block3_conv4 block4_conv4"),
}


def feature_network(name, weights, size, stages):
    """A network of preprocessed images (B, size, size, 3) to features (B, F), and its preprocessing."""
    family, _, width = name.rpartition("_") if name.startswith("mobilenet") else (name, "", "")
    factory, ends = NETWORKS[family]
    options = {"include_top": False, "input_shape": (size, size, 3)} | ({"alpha": float(width)} if width else {})
    body = getattr(keras.applications, factory)(weights="imagenet" if weights == "imagenet" else None, **options)
    if weights != "imagenet":
        body.load_weights(weights)
    middle = [body.get_layer(end).output for end in ends.split()[max(0, 4 - stages) :]]
    averages = [keras.layers.GlobalAveragePooling2D()(each) for each in [*middle, body.output]]
    joined = keras.layers.Concatenate()(averages) if middle else averages[0]
    return keras.Model(body.input, joined), getattr(keras.applications, family).preprocess_input


def features_of(images, block):
    """What a block makes of images: (N, F)."""
    model, preprocess = feature_network(*block)
    found = [np.empty((0, model.output_shape[1]), "float32")]
    for start in range(0, len(images), 32):
        batch = images[start : start + 32]
        if block[2] != LOADED:
            batch = np.stack([fit(Image.fromarray(image), block[2]) for image in batch])
        views = [batch, batch[:, :, ::-1]] if MIRROR else [batch]
        found.append(np.mean([model.predict_on_batch(preprocess(view.astype("float32"))) for view in views], axis=0))
    return np.concatenate(found)


if RUN is None:
    both = []
    for block in BLOCKS:
        began = time.perf_counter()
        both.append((features_of(images, block), features_of(tests, block)))
        print(f"{block[0]} at {block[2]}: {both[-1][0].shape[1]:,} features, {time.perf_counter() - began:.0f} s")
    features, test_features = map(np.hstack, zip(*both, strict=True))

# %% [markdown]
# ## The head
#
# 1. Each feature's **square root**, so that few large values do not decide alone; then mean 0 and deviation 1.
# 2. **Coordinates**: the directions in which the images differ most, by a singular value decomposition. They keep the
#    distances between images nearly as they are, with fewer numbers. All this looks at no label.
# 3. **Similarity** of two images: exp(-width x squared distance), a Gaussian: 1 for the same image, 0 for distant ones.
# 4. **Ridge regression**: the score of a class is a weighted sum of the similarities to all training images. The
#    penalty keeps the weights small. It is one linear system, solved exactly: no learning rate, no epochs, no luck.
# 5. **Softmax** of the scores times a *sharpness*: probabilities that are about as sure as the head is right.


# %%
def rooted(features):
    """The square root of each feature, its sign kept."""
    return (np.sign(features) * np.sqrt(np.abs(features))).astype("float32")


def coordinates_of(features):
    """A function from features to coordinates whose mean square length is 1 on these."""
    roots = rooted(features)
    mean, spread = roots.mean(axis=0), roots.std(axis=0)
    spread = np.where(spread > 1e-6 * np.abs(roots).max(axis=0), spread, 1)  # a constant feature says nothing
    standard = (roots - mean) / spread
    _, spreads, axes = randomized_svd(standard, min(COORDINATES, *standard.shape), n_iter=2, random_state=SEED)
    axes = axes[spreads > 1e-4 * spreads[0]].T  # along the others no training image varies
    axes = axes / max(np.sqrt(np.mean(np.sum((standard @ axes) ** 2, axis=1))), 1e-12) / spread[:, None]
    return lambda others: (rooted(others) - mean) @ axes.astype("float32")


def similarity(some, others, width):
    """exp(-width |a - b|^2) for all pairs."""
    squares = 2 * some @ others.T - np.sum(some**2, axis=1)[:, None] - np.sum(others**2, axis=1)
    return np.exp(width * np.minimum(squares, 0))


def solve(alike, labels, penalty):
    """Weights of the training images and a bias, for each class; the bias is the share of the class."""
    targets = np.eye(len(class_names), dtype="float32")[labels]
    bias = targets.mean(axis=0)
    factor = cho_factor(alike + penalty * np.eye(len(alike), dtype=alike.dtype), overwrite_a=True)
    return cho_solve(factor, targets - bias), bias


def out_of_fold(alike, penalty):
    """The scores of each image by a head that has not seen its fold; NaN where no fold holds it out."""
    scores = np.full((len(labels), len(class_names)), np.nan)
    for held in (folds == fold for fold in range(FOLDS)):
        weights, bias = solve(alike[np.ix_(~held, ~held)], labels[~held], penalty)
        scores[held] = alike[np.ix_(held, ~held)] @ weights + bias
    return scores


def loss(log_sharpness, scores, labels):
    """The mean log loss of the softmax of scores times a sharpness."""
    return -log_softmax(np.exp(log_sharpness) * scores, axis=1)[np.arange(len(labels)), labels].mean()


# %% [markdown]
# Width, penalty and sharpness are those of least log loss out of fold; it judges the probabilities and not the answers
# alone. The pairs are few: that the best is chosen by the images that are judged below flatters the figures hardly.
#
# Beside a run its results are read. Its network holds all of the above, from pixels to probabilities: asked about some
# test images, it has to say what was read.

# %%
if RUN is None:
    turn, held, tried = coordinates_of(features), folds >= 0, []
    at = turn(features)
    print(f"{len(at):,} images in {FOLDS} folds: {features.shape[1]:,} features, {at.shape[1]:,} coordinates")
    for pair in product([WIDTH] if WIDTH else [0.25, 0.5, 1.0], [PENALTY] if PENALTY else [0.01, 0.03, 0.1, 0.3]):
        scores = out_of_fold(similarity(at, at, pair[0]), pair[1])[held]
        known = scores, labels[held]
        sharpness = SHARPNESS or np.exp(minimize_scalar(loss, args=known, bounds=(-3, 6), options={"xatol": 0.01}).x)
        tried.append((loss(np.log(sharpness), *known), *pair, sharpness, scores))
        right = (scores.argmax(axis=1) == labels[held]).mean()
        print(f"width {pair[0]:<5} penalty {pair[1]:<5} log loss {tried[-1][0]:.4f}  accuracy {right:.2%}")
    _, width, penalty, sharpness, scores = min(tried, key=lambda one: one[0])
    print(f"taken: width {width}, penalty {penalty}, sharpness {sharpness:.3g}")
    judged, true, chances = files[held], labels[held], softmax(sharpness * scores, axis=1)
    weights, bias = solve(similarity(at, at, width), labels, penalty)
    answers = softmax(sharpness * (similarity(turn(test_features), at, width) @ weights + bias), axis=1)

# %%
if RUN is not None:
    record = json.loads(Path(RUN, "records", f"{NETWORK}.json").read_text(encoding="utf-8"))
    assert record["class_names"] == class_names, "the run is of other classes than DATA has"
    print(f"read from the run: {record['trial']['title']}; {record['measured'].get('chosen', '')}")
    with np.load(Path(RUN, "predictions", f"{NETWORK}.npz")) as stored:
        judged, true, chances = stored["ids"], stored["labels"], stored["probabilities"].astype("float64")
    read_tests, answers = judged[:0], chances[:0]
if RUN is not None and test_files:
    with np.load(Path(RUN, "predictions", f"{NETWORK}.unlabelled.npz")) as stored:
        read_tests, answers = stored["ids"], stored["probabilities"]
    network = keras.models.load_model(Path(RUN, "models", f"{NETWORK}.keras"), safe_mode=True, compile=False)
    said = network.predict(load(read_tests[:16].tolist(), network.input_shape[1])[0], verbose=0)
    known = answers[: len(said)]
    print(f"its network, asked about {len(said)} test images: {(said.argmax(1) == known.argmax(1)).sum()}", end=" ")
    print(f"answers as read, probabilities at most {np.abs(said - known).max():.4f} apart")

# %% [markdown]
# ## Results, out of fold
#
# The interval is Wilson's, over the images: other images of the same kind would have given another accuracy. *Macro F1*
# is the mean of F1 over the classes; it is low where a class is missed or others are taken for it.
#
# A row of the **confusion matrix** is a class, its colours say what the images were named; the scale is stretched, so
# that small shares can be seen. An **ROC curve** tells each class from the rest by its probability; the micro average
# takes all pairs of image and class together, the macro average is the mean of the curves, each class alike.

# %%
named, present, chances = chances.argmax(axis=1), np.unique(true), chances / chances.sum(axis=1, keepdims=True)
right, own = named == true, chances[np.arange(len(true)), true]
low, high = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
print(f"accuracy {right.mean():.2%} of {len(right):,} images, 95% interval {low:.2%} to {high:.2%}")
print(f"macro F1 {f1_score(true, named, labels=present, average='macro'):.4f}", end=", ")
print(f"log loss {log_loss(true, chances, labels=range(len(class_names))):.4f}", end=", ")
print(f"the true class is among the first five of {((chances > own[:, None]).sum(axis=1) < 5).mean():.2%}")
print(f"the answers' mean probability is {chances.max(axis=1).mean():.2%}: it should be near the accuracy")

# %%
matrix = confusion_matrix(true, named, labels=range(len(class_names)))
shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
few, side = len(class_names) <= 20, 4 + min(len(class_names) / 2, 7)
figure, axis = plt.subplots(figsize=(side + 1, side), layout="constrained")
picture = axis.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
axis.set_xticks(range(len(class_names)), class_names, rotation=90, fontsize=9 if few else 7)
axis.set_yticks(range(len(class_names)), class_names, fontsize=9 if few else 7)
axis.set(xlabel="class that was given", ylabel="true class")
for row, column in zip(*np.nonzero(matrix), strict=True) if few else ():
    color = "white" if shares[row, column] > 0.4 else "black"
    axis.text(column, row, matrix[row, column], ha="center", va="center", color=color)
figure.colorbar(picture, ax=axis, aspect=40, format=lambda share, _: f"{share:.0%}", label="share of the class")
plt.show()

wrong = matrix - np.diag(matrix.diagonal())
for place in np.argsort(-wrong, axis=None, kind="stable")[:10]:
    row, column = np.unravel_index(place, wrong.shape)
    if wrong[row, column]:
        print(f"{wrong[row, column]} of {matrix[row].sum()} images of {class_names[row]}", end=" ")
        print(f"were taken for {class_names[column]}, {wrong[column, row]} the other way")
ranked = sorted(present, key=lambda k: shares[k, k])[:5]
print("hardest classes:", ", ".join(f"{class_names[k]} ({shares[k, k]:.0%} right)" for k in ranked))

# %%
truth = true[:, None] == np.arange(len(class_names))
curves = [roc_curve(truth[:, k], chances[:, k])[:2] for k in present if not truth[:, k].all()]
micro = roc_curve(truth.ravel(), chances.ravel())[:2]
grid = np.unique(np.concatenate([false for false, _ in curves]))
macro = np.mean([np.interp(grid, *curve) for curve in curves], axis=0)
figure, axes = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
for axis, most, title in zip(axes, (1, 0.1), ("all classes (grey), and averages", "the left tenth of it"), strict=True):
    for curve in curves:
        axis.plot(*curve, color="0.85", linewidth=0.7)
    axis.plot(*micro, label=f"micro average, area {auc(*micro):.4f}")
    axis.plot(grid, macro, label=f"macro average, area {np.mean([auc(*curve) for curve in curves]):.4f}")
    axis.set(xlim=(0, most), ylim=(0, 1.01), xlabel="false positive rate", ylabel="true positive rate", title=title)
axes[0].legend(loc="lower right")
plt.show()


# %%
def show_images(title, rows):
    """Ten images, drawn at random, with what was said of them, and how surely."""
    bare = {"frame_on": False, "xticks": [], "yticks": []}
    figure, axes = plt.subplots(2, 5, figsize=(12, 5.8), layout="constrained", subplot_kw=bare)
    for axis, row in zip(axes.flat, np.random.default_rng(SEED).permutation(rows), strict=False):
        axis.imshow(read(judged[row], 160))
        said = f"{class_names[named[row]]}: {chances[row, named[row]]:.0%}"
        axis.set_title(said if right[row] else f"said {said}\nis {class_names[true[row]]}: {own[row]:.0%}", fontsize=10)
    figure.suptitle(title)
    plt.show()


show_images("Named rightly, with the probability of the answer", np.flatnonzero(right))
show_images("Named wrongly, with the probabilities of the answer and of the true class", np.flatnonzero(~right))

# %% [markdown]
# ## Predictions of the test images
#
# One row for each. An image that cannot be read gets the class that is most frequent, with the probability of a guess.

# %%
given = {Path(file).name: (class_names[row.argmax()], str(round(float(min(row.max(), 1)), 6)))
         for file, row in zip(read_tests.tolist(), answers, strict=True)}  # fmt: skip
usual = (class_names[np.bincount(true).argmax()], str(round(1 / len(class_names), 6)))
for name in {Path(file).name for file in test_files} - set(given):
    print(f"WARNING: {name} cannot be read, and is given class {usual[0]}")
    given[name] = usual
header, order = ["image", "label", "probability"], sorted(given)
if SAMPLE is not None:
    with open(SAMPLE, newline="", encoding="utf-8-sig") as sample:
        header, *asked = [line for line in csv.reader(sample) if line]
    order = [line[0] for line in asked]
turned = -1 if header[1].strip().lower() in ("probability", "prob", "confidence", "score") else 1
table = [[image, *given[Path(image).name][::turned]] for image in order]
path = Path(f"{ROLL}_06.csv")
if path.is_file() and RUN is not None:
    print(f"{path} lies there already, and is left as it is; it may be of several networks together")
elif table:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *table])
print(f"{len(table):,} rows", *(",".join(line) for line in [header, *table[:5]]), sep="\n")
