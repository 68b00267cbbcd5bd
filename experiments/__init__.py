"""One readable file per study; `python -m tl_keras.run list` names them."""
