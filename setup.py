"""Package metadata. Lower bounds are versions the test suite was run with (`make test-lowest`)."""

from pathlib import Path

from setuptools import find_packages, setup

EXTRAS = {
    "torch": ["torch>=2.6", "torchvision>=0.21", "safetensors>=0.4"],
    "kerashub": ["keras-hub>=0.32"],
    "ray": ["ray[default]>=2.40"],
    "onnx": ["onnx>=1.17", "onnxruntime>=1.20", "tf2onnx>=1.16"],
    "test": ["pytest>=8.3", "hypothesis>=6.100", "psutil>=6.0", "pypdf>=5.0", "ruff>=0.6"],
}

setup(
    name="tl-keras",
    version="0.1.0",
    description="Transfer learning with images in Keras 3: which way of re-using a network works best here, "
    "with evidence",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["tl_keras", "tl_keras.*", "experiments", "experiments.*"]),
    package_data={"tl_keras.reporting": ["*.html"], "experiments": ["notebooks/*.py"]},
    install_requires=[
        "tensorflow>=2.20",
        "tensorboard>=2.20",
        "keras>=3.12",
        "keras-cv>=0.9",
        "tensorflow-datasets>=4.9.7",
        "importlib-resources>=6.0",  # tensorflow-datasets needs it and does not declare it
        "numpy>=2.0",
        "scipy>=1.13",
        "scikit-learn>=1.5",
        "matplotlib>=3.9",
        "elasticdeform>=0.5.1",
        "pillow>=11.0",
        "tqdm>=4.66",
        "lazy-loader>=0.4",
        "jinja2>=3.1.4",
        "reportlab>=4.2",
        "nbformat>=5.10",
        "nbclient>=0.10",
        "ipykernel>=6.29",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["tl-keras = tl_keras.run:main"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: MIT License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    keywords="transfer-learning keras tensorflow image-classification fine-tuning",
)
