"""Regenerate the saved classifier in `tests/fixtures`, after a change of the options or the folder.

Run it as `python -m tests.make_model`.
"""

import json
from pathlib import Path

from textrnn import TextClassifier

MODEL = Path(__file__).parent / "fixtures" / "model"
TEXTS = ["oil prices soar", "stocks and oil fall", "the striker scores", "a keeper saves goals"] * 8
LABELS = ["business", "business", "sports", "sports"] * 8
MORE = ["gas prices soar", "gas and oil fall", "the referee scores", "a referee saves goals"] * 4
COLUMNS = {
    "text_columns": ["text"],
    "label_columns": ["label"],
    "label_separator": None,
    "header": True,
}
PROBE = ["oil falls", "the keeper scores", "", "weather"]

if __name__ == "__main__":
    classifier = TextClassifier(
        preset="best",
        hidden_size=6,
        embedding_size=5,
        pooling=("max", "mean", "last"),
        pretrain_epochs=3,
        epochs=20,
        batch_size=8,
        learning_rate=0.02,
        class_weight={"sports": 1.5},
        patience=20,
        device="cpu",
        progress=False,
    )
    classifier.fit(TEXTS, LABELS, eval_set=(TEXTS[:8], LABELS[:8]), unlabelled=MORE)
    classifier.save(MODEL, columns=COLUMNS)
    found = {"texts": PROBE, "probabilities": classifier.predict_proba(PROBE).tolist()}
    path = MODEL.with_name("model_predictions.json")
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
