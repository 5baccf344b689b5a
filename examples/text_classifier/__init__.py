"""Examples of `TextClassifier`: CSV files, Hugging Face data sets, scikit-learn."""
