"""From a picture to boxes; ``pipeline`` joins preprocess, engine and postprocess."""
