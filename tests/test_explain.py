"""Explanations: the words' weights, and how they are shown."""

import json
import random
import re
import sys

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, LayerIntegratedGradients
from hypothesis import given
from hypothesis import strategies as st

from examples.text_classifier.sample import read_sample
from textrnn import RecurrentClassifier, TextClassifier, runtime
from textrnn.errors import InvalidTypeError, InvalidValueError, MissingKeyError
from textrnn.estimator.attribution import integrated_gradients
from textrnn.estimator.explanation import Explanation, Explanations
from textrnn.plotting import plot_explanation

TEXTS = ["oil prices soar", "stocks and oil fall", "the striker scores", "a keeper saves goals"] * 8
LABELS = ["business", "business", "sports", "sports"] * 8
TOPICS = [["oil", "up"], ["oil", "stocks"], ["sports"], []] * 8
SMALL = {"hidden_size": 8, "embedding_size": 8, "epochs": 8, "device": "cpu", "progress": False}
WORDS = st.lists(st.sampled_from([*" ".join(TEXTS).split(), "unheard"]), max_size=12)


@pytest.fixture(scope="module", name="fitted")
def _fitted():
    return TextClassifier(**SMALL, learning_rate=0.02).fit(TEXTS, LABELS)


@pytest.fixture(scope="module", name="news")
def _news():
    """Return a classifier of news, and texts that it was not trained on."""
    texts, labels = read_sample("train", 2300)
    classifier = TextClassifier(network=True, device="cpu", progress=False)
    classifier.fit(texts[:2000], labels[:2000])
    return classifier, texts[2000:]


def total(explanation):
    """Return the sum of all parts."""
    return explanation.bias + sum(explanation.weights) + explanation.residual


def with_scales(classifier, network, ngrams):
    """Set the blend weights of a classifier."""
    with torch.no_grad():
        classifier.network_.scales.copy_(torch.tensor([network, ngrams]))
    return classifier


@given(texts=st.lists(WORDS.map(" ".join), max_size=5))
def test_bias_and_words_add_up_to_the_logit(fitted, texts):
    """What numerical integration leaves is stated, and small; an empty text has only a bias."""
    explanations = fitted.explain(texts, "sports")
    probabilities = fitted.predict_proba(texts)
    assert len(explanations) == len(texts)
    for text, explanation, row in zip(texts, explanations, probabilities, strict=True):
        assert explanation.words == tuple(text.split())
        assert len(explanation.weights) == len(explanation.words)
        assert total(explanation) == pytest.approx(explanation.logit, abs=1e-9)
        assert abs(explanation.residual) < 0.02
        assert explanation.probability == pytest.approx(row[1], abs=1e-5)
        assert explanation.predicted == (row[1] > row[0])


@pytest.mark.parametrize("spelling", [True, False])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_linear_part_is_exact(spelling, order):
    """Without the network the words' n-grams and spelling give the logit to 1e-4."""
    classifier = TextClassifier(**SMALL, ngram_order=order, spelling=spelling).fit(TEXTS, LABELS)
    with_scales(classifier, 0.0, 1.5)
    texts = ["oil", "", "oil oil oil prices", "the unheard striker scores " * 3, *TEXTS[:4]]
    logits = classifier.decision_function(texts)
    for label, sign in ("sports", 0.5), ("business", -0.5):
        for explanation, logit in zip(classifier.explain(texts, label), logits, strict=True):
            assert abs(explanation.residual) < 1e-5
            assert explanation.logit == pytest.approx(sign * logit, abs=1e-4)


def test_an_ngram_is_shared_by_its_words(fitted):
    """With the weight of one pair alone, both of its words get the same, and others nothing."""
    classifier = with_scales(TextClassifier(**SMALL).fit(TEXTS, LABELS), 0.0, 1.0)
    ngrams, vocabulary = classifier.network_.ngrams, fitted.vocabulary_
    key = vocabulary["oil"] * len(vocabulary) + vocabulary["prices"]
    with torch.no_grad():
        ngrams.weight.zero_()
        ngrams.weight[int((ngrams.keys == key).nonzero()), 0] = 2.0
    (explanation,) = classifier.explain(["stocks oil prices fall oil prices"], "business")
    none, first, second, *others = explanation.weights
    assert first == second == others[1] == others[2] > 0.05
    assert none == others[0] == 0


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize(
    "settings",
    [
        {"pooling": ("max", "mean")},
        {"pooling": "attention", "bidirectional": True},
        {"pooling": ("last", "max"), "bidirectional": True, "num_layers": 2, "layer_dropout": 0.5},
    ],
)
def test_the_networks_part_is_that_of_captum(cell, settings):
    """Captum's `IntegratedGradients` of the same network gives the same, text by text."""
    network = RecurrentClassifier(
        40, num_classes=3, cell=cell, hidden_size=6, embedding_dropout=0.5, **settings
    ).eval()
    generator = np.random.default_rng(0)
    lengths = np.array([7, 2, 12, 3])
    ids = generator.integers(4, 40, lengths.sum()).astype(np.int32)
    ids[lengths.cumsum() - 1], ids[lengths.cumsum() - lengths] = 3, 2
    targets = np.array([0, 1, 2, 2])
    _, found = integrated_gradients(network, ids, lengths, targets, unk_id=1, steps=20)
    parts = np.split(found, lengths.cumsum()[:-1])
    texts = np.split(ids.astype(np.int64), lengths.cumsum()[:-1])
    reference = IntegratedGradients(network.forward_embeddings)
    for part, text, target in zip(parts, texts, targets.tolist(), strict=True):
        hidden = torch.from_numpy(text.copy())
        hidden[1:-1] = 1
        expected = reference.attribute(
            network.embedding(torch.from_numpy(text)).unsqueeze(0).detach(),
            network.embedding(hidden).unsqueeze(0).detach(),
            target=target,
            additional_forward_args=(torch.tensor([len(text)]),),
            n_steps=20,
        )
        np.testing.assert_allclose(part, expected.sum(2)[0].detach(), atol=1e-6)
    assert not network.training
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


def test_batches_change_nothing(monkeypatch):
    """Weights are the same if texts and steps are divided among several batches."""
    network = RecurrentClassifier(40, num_classes=3, hidden_size=6, pooling="max").eval()
    lengths = np.array([7, 2, 12, 3])
    ids = np.arange(24, dtype=np.int32) + 2
    whole = integrated_gradients(network, ids, lengths, np.array([0, 1, 2, 0]), unk_id=1)
    monkeypatch.setattr("textrnn.estimator.attribution._MAX_IDS", 30)
    with torch.inference_mode():
        parts = integrated_gradients(network, ids, lengths, np.array([0, 1, 2, 0]), unk_id=1)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.cuda
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_gpu_gives_the_same_weights(cell, bidirectional):
    """Gradients of cuDNN, which need training mode, are without dropout."""
    options = {"num_layers": 2, "layer_dropout": 0.5, "bidirectional": bidirectional}
    network = RecurrentClassifier(40, num_classes=3, cell=cell, hidden_size=6, **options).eval()
    arguments = np.arange(24, dtype=np.int32) + 2, np.array([7, 2, 12, 3]), np.array([0, 1, 2, 0])
    one = integrated_gradients(network, *arguments, unk_id=1)
    other = integrated_gradients(network.cuda(), *arguments, unk_id=1)
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert not network.encoder.rnn.training


def test_a_planted_keyword_is_found_in_100_of_100_texts():
    """The word that decides the label has the largest weight in every text."""
    generator = random.Random(0)
    noise = [f"word{i}" for i in range(40)]

    def plant(label):
        words = generator.choices(noise, k=8)
        words[generator.randrange(8)] = ("alpha", "omega")[label]
        return " ".join(words)

    labels = [i % 2 for i in range(300)]
    texts = [plant(label) for label in labels]
    for ngram_order in (0, 2):
        options = {**SMALL, "hidden_size": 16, "learning_rate": 0.02, "ngram_order": ngram_order}
        classifier = TextClassifier(**options).fit(texts[:200], labels[:200])
        found = [each.words[np.argmax(each.weights)] for each in classifier.explain(texts[200:])]
        assert found == [("alpha", "omega")[label] for label in labels[200:]]


def test_a_word_without_influence_gets_none(fitted):
    """An unknown word is like the baseline, and a word beyond the maximum length is not read."""
    alone = with_scales(TextClassifier(**SMALL).fit(TEXTS, LABELS), 1.0, 0.0)
    (explanation,) = alone.explain(["oil unheard prices"])
    assert explanation.weights[1] == 0 < abs(explanation.weights[0])
    assert fitted.explain(["unheard"])[0].weights == (0.0,)
    short = TextClassifier(**SMALL, max_length=4).fit(TEXTS, LABELS)
    (explanation,) = short.explain(["oil prices soar again"])
    assert explanation.words == ("oil", "prices", "soar", "again")
    assert explanation.weights[2:] == (0.0, 0.0)
    assert total(explanation) == pytest.approx(explanation.logit, abs=1e-9)


def test_removing_the_top_words_lowers_the_logit_more_than_random_ones(news):
    """In at least 90 % of real texts that the classifier was not trained on."""
    classifier, texts = news
    generator = np.random.default_rng(0)
    explanations = classifier.explain(texts)
    names = list(classifier.classes_)

    def logits(removed):
        kept = [
            " ".join(np.delete(np.array(each.words, dtype=object), places))
            for each, places in zip(explanations, removed, strict=True)
        ]
        targets = [names.index(each.label) for each in explanations]
        return classifier.decision_function(kept)[range(len(kept)), targets]

    top = [np.argsort(each.weights)[-3:] for each in explanations]
    others = [generator.permutation(len(each.words))[:3] for each in explanations]
    assert (logits(top) < logits(others)).mean() >= 0.9


@pytest.mark.parametrize("mapping", [False, True])
def test_the_label_of_several_is_judged_by_its_threshold(mapping):
    """Without a name it is the label highest above its threshold, or nearest below it."""
    classifier = TextClassifier(**SMALL, learning_rate=0.02).fit(TEXTS, TOPICS)
    texts = ["oil prices soar", "a keeper saves goals"]
    for explanation in classifier.explain(texts):
        row = dict(classifier.top_k([" ".join(explanation.words)], 4)[0])
        assert explanation.label == max(row, key=row.__getitem__)
        assert explanation.predicted == (row[explanation.label] > 0.5)
    classifier.threshold = {"oil": 0.999, "up": 1e-6} if mapping else 0.999
    (explanation,) = classifier.explain(texts[:1], "oil")
    assert not explanation.predicted
    if mapping:
        assert classifier.explain(texts)[0].label == "up"
        assert classifier.explain(texts)[0].predicted


def test_invalid_arguments_of_an_explanation_are_refused(fitted):
    """The message names the argument."""
    with pytest.raises(MissingKeyError, match="No label 'weather', as in `label`; there are: 'bus"):
        fitted.explain(TEXTS, "weather")
    with pytest.raises(InvalidTypeError, match=r"Expected `texts\[0\]` to be a string"):
        fitted.explain([3])
    with pytest.raises(MissingKeyError, match="No label 'weather', as in `label`"):
        fitted.top_features("weather")
    with pytest.raises(InvalidValueError, match="`k`"):
        fitted.top_features("sports", 0)
    without = TextClassifier(**SMALL, ngram_order=0).fit(TEXTS, LABELS)
    with pytest.raises(InvalidValueError, match="Expected a classifier with n-grams, but got one"):
        without.top_features("sports")
    assert "## Words" not in card(without)


def card(classifier):
    """Return the model card of a classifier."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        classifier.save(f"{folder}/model")
        with open(f"{folder}/model/README.md", encoding="utf-8") as file:  # noqa: PTH123
            return file.read()


def test_top_features_are_the_ngrams_of_the_largest_weights(fitted, tmp_path):
    """They are words only, and the same with PyTorch and without."""
    found = fitted.top_features("sports", 100)
    strengths = [strength for _, strength in found]
    assert strengths == sorted(strengths, reverse=True)
    assert strengths[-1] > 0
    phrases = [phrase for phrase, _ in found]
    assert {"keeper", "striker scores"} < set(phrases)
    assert not any("<" in phrase or "oil" in phrase for phrase in phrases)
    assert fitted.top_features("sports", 2) == found[:2]
    fitted.save(tmp_path / "model")
    assert runtime.load(tmp_path / "model").top_features("sports", 100) == found
    best = ", ".join(phrases[:8])
    assert f"| sports | {best} |" in card(fitted)

    network, vocabulary = fitted.network_, fitted.vocabulary_
    ngrams, word = network.ngrams, vocabulary["keeper"]
    place = int((ngrams.keys == word).nonzero())
    weight = ngrams.weight[place, 1] + ngrams.weight[ngrams.num_ngrams + word, 1]
    expected = float(network.scales[1] * ngrams.idf[place] * weight.detach())
    assert dict(found)["keeper"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "pooling": ("max", "attention")}])
def test_captum_attributes_to_the_embedding_layer(options):
    """`LayerIntegratedGradients` is complete, with padding as the baseline as well."""
    model = RecurrentClassifier(50, num_classes=3, hidden_size=8, **options).eval()
    ids, lengths = torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]]), torch.tensor([4, 3])
    for baseline in (torch.ones_like(ids), torch.zeros_like(ids)):
        found, delta = LayerIntegratedGradients(model, model.embedding).attribute(
            ids,
            baselines=baseline,
            additional_forward_args=(lengths,),
            target=1,
            n_steps=50,
            return_convergence_delta=True,
        )
        assert found.shape == (2, 4, 8)
        assert delta.abs().max() < 1e-3
        assert found[1, 3].abs().max() == 0  # padding
        expected = (model(ids, lengths) - model(baseline, lengths))[:, 1]
        torch.testing.assert_close(found.sum((1, 2)), expected.detach(), atol=1e-3, rtol=0)


WEIGHTS = (1.25, -0.5, 0.01, 0.0)


def explanation_of(*words: str, label="<b>", weights=WEIGHTS):
    """Return an explanation of these words."""
    return Explanation(
        label=label,
        predicted=True,
        probability=0.9,
        logit=1.5,
        bias=0.7,
        residual=0.04,
        words=words,
        weights=weights,
    )


def test_an_explanation_prints_as_a_line_of_marked_words(monkeypatch):
    """A pipe gets no colours, nor does a terminal with NO_COLOR; control characters are escaped."""
    explanation = explanation_of("oil", "\x1b[31m", "a", "\ud800")
    plain = r"<b> 0.90: oil(+1.25) \x1b[31m(-0.50) a \ud800"
    assert str(explanation) == plain
    assert str(Explanations([explanation] * 2)) == f"{plain}\n{plain}"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = str(explanation)
    assert "\x1b[34;1moil(+1.25)\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain
    monkeypatch.setenv("NO_COLOR", "1")
    assert str(explanation) == plain
    monkeypatch.setattr(sys, "stdout", None)
    assert str(explanation) == plain


def test_html_is_escaped_and_marks_words():
    """Words and labels are text; words without influence have no mark."""
    explanation = explanation_of("<script>", '"&', "a", "b")
    shown = explanation._repr_html_()
    assert "<script" not in shown
    assert "<strong>&lt;b&gt;</strong> 0.90" in shown
    assert 'rgba(0,114,178,0.60);border-radius:3px;padding:1px 2px">&lt;script&gt;</span>' in shown
    assert "rgba(213,94,0,0.24)" in shown
    assert shown.count("<span") == 2
    assert "words +0.76, not attributed +0.04" in shown
    assert Explanations([explanation] * 2)._repr_html_() == shown * 2


def test_explanations_are_plain_data():
    """JSON has all attributes; a label that it lacks is a string."""
    data = json.loads(explanation_of(*"abcd").to_json())
    assert data["words"] == list("abcd")
    assert data["weights"] == list(WEIGHTS)
    assert data.keys() == vars(explanation_of()).keys()
    assert explanation_of(label=(1, "a")).to_dict()["label"] == "(1, 'a')"
    several = Explanations([explanation_of(*"abcd", label=3)])
    assert json.loads(several.to_json(indent=None)) == several.to_dict()
    assert several.to_dict()[0]["label"] == 3


def test_a_plot_shows_the_strongest_words_in_their_order():
    """The rest is summed up, so that all bars add up to the logit, less the residual."""
    axes = plot_explanation(explanation_of("oil", "$x", "a\n", "b"), max_words=3).axes[0]
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == ["oil", "$x", r"a\n", "1 other words", "bias"]
    widths = [bar.get_width() for bar in axes.patches]
    assert sum(widths) == pytest.approx(0.7 + sum(WEIGHTS))
    assert axes.get_title(loc="left") == "<b>: logit 1.50"
    with pytest.raises(InvalidValueError, match="`max_words`"):
        plot_explanation(explanation_of(*"abcd"), max_words=0)


def test_the_command_line_explains_texts(run_cli, fitted, tmp_path):
    """As lines, JSON or a page; the columns are as in `predict`."""
    model = tmp_path / "model"
    fitted.save(model)
    line = str(fitted.explain(["the striker scores"])[0])
    cpu = ("--device", "cpu")
    assert run_cli("explain", model, *cpu, stdin="the striker scores\n") == (0, f"{line}\n", "")
    table = tmp_path / "table.csv"
    table.write_text("review\noil prices\nstocks\n")
    columns = ("--text-column", "review", *cpu)
    _, output, _ = run_cli("explain", model, table, "--json", "--label", "sports", *columns)
    answers = [json.loads(each) for each in output.splitlines()]
    assert [each["label"] for each in answers] == ["sports", "sports"]
    assert answers[0]["words"] == ["oil", "prices"]
    code, output, _ = run_cli("explain", model, table, "--html", *columns)
    assert code == 0
    assert output.startswith("<!DOCTYPE html>")
    assert output.count("<strong>business</strong>") == 2
    code, _, errors = run_cli("explain", model, "--label", "weather", *cpu, stdin="oil\n")
    assert (code, errors.partition(";")[0]) == (1, "textrnn: No label 'weather', as in `label`")
    code, _, errors = run_cli("explain", model, *cpu, stdin=b"oil\n\xff\n")
    assert (code, "<stdin>:2" in errors) == (1, True)


def test_the_command_line_lists_top_features(run_cli, fitted, tmp_path):
    """`info --features` has the words and phrases of each label."""
    fitted.save(tmp_path / "model")
    best = [phrase for phrase, _ in fitted.top_features("sports")]
    _, output, _ = run_cli("info", tmp_path / "model", "--features")
    (line,) = [each for each in output.splitlines() if each.startswith("speaks for sports")]
    assert line.endswith(f"  {', '.join(best)}")
    _, output, _ = run_cli("info", tmp_path / "model", "--features", "--json")
    assert [phrase for phrase, _ in json.loads(output)["features"][1]] == best
    assert "features" not in json.loads(run_cli("info", tmp_path / "model", "--json")[1])
    without = TextClassifier(**SMALL, ngram_order=0).fit(TEXTS, LABELS)
    without.save(tmp_path / "model")
    _, output, _ = run_cli("info", tmp_path / "model", "--features")
    assert "speaks for" not in output
