"""How accurate the classifier is beside what people would pick instead, and how long it takes."""
