"""Package metadata.

The lower bounds are the versions that the test suite was run with, which needs all extras. Who only uses the program
needs `torch` for state dicts, `kerashub` for its networks, `ray` for clusters and to serve with several processes,
`cloud` for images and features in S3 or Google Cloud Storage.
"""

from pathlib import Path

from setuptools import find_packages, setup

EXTRAS = {
    "torch": ["torch>=2.13", "torchvision>=0.28", "safetensors>=0.8"],
    "kerashub": ["keras-hub>=0.32"],
    "ray": ["ray[serve]>=2.60"],
    "cloud": ["s3fs>=2026.9", "gcsfs>=2026.9"],
    "test": [
        "pytest>=9.2",
        "pytest-xdist>=3.8",
        "hypothesis>=6.170",
        "psutil>=7.2",
        "pypdf>=7.1",
        "grad-cam>=1.5.7",
        "httpx>=0.28",
        "schemathesis>=4.32",
        "playwright>=1.65",
        "axe-playwright-python>=0.1.8",
        "huggingface-hub>=2.4",
        "pyyaml>=6.0",
        "ruff>=0.17",
        "mypy>=2.4",
    ],
}

setup(
    name="tl-keras",
    version="0.7.0",
    description="Transfer learning with images in Keras 3: which way of re-using a network works best here, "
    "with evidence",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["tl_keras", "tl_keras.*", "experiments", "experiments.*"]),
    package_data={
        "": ["*.pyi"],  # the names that a package imports late
        "tl_keras.reporting": ["*.html"],
        "tl_keras.serving": ["page/*"],
        "experiments": ["handin/*.py"],
    },
    install_requires=[
        "tensorflow>=2.21",
        "tensorboard>=2.21",
        "keras>=3.15",
        "onnxruntime>=1.31",
        "tf2onnx>=1.17",
        "onnx>=1.23",
        "fastapi>=0.165",
        "uvicorn>=0.54",
        "httptools>=0.9",
        "uvloop>=0.23",
        "prometheus-client>=0.26",
        "pyarrow>=26.0",
        "fsspec>=2026.9",
        "protobuf>=7.36",
        "keras-cv>=0.9",
        "tensorflow-datasets>=4.9.10",
        "importlib-resources>=7.1",  # tensorflow-datasets needs it and does not declare it
        "numpy>=2.4",
        "scipy>=1.17",
        "scikit-learn>=1.9",
        "matplotlib>=3.11",
        "elasticdeform>=0.5.1",
        "pillow>=13.0",
        "tqdm>=4.70",
        "lazy-loader>=0.6",
        "jinja2>=3.1.6",
        "reportlab>=5.1",
        "nbformat>=5.11",
        "nbclient>=0.11",
        "ipykernel>=7.4",
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
