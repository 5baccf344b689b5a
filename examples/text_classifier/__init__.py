"""`TextClassifier` at work: a CSV file, a Hugging Face data set, a scikit-learn grid search."""
