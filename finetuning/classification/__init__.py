"""Classification: a label for a text, from the model that was trained to continue it."""
