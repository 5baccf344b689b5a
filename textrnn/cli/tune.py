"""`textrnn tune`: search for the settings of a classifier, and save the best one."""

from argparse import Namespace

from textrnn.cli.inputs import columns_of, use_columns
from textrnn.cli.train import given_parameters, logging_to_stderr, training_table, write_trained
from textrnn.errors import check_choice
from textrnn.estimator import tune
from textrnn.plotting import plot_trials
from textrnn.runtime.compact import PRECISIONS
from textrnn.runtime.folder import FOLDER_FORMAT
from textrnn.training.loop import CTRL_C

__all__ = ["run"]


def run(options: Namespace) -> int:
    """Search on a table, save the classifier, draw the trials and print the metrics."""
    check_choice("weights", options.weights, PRECISIONS)
    output = FOLDER_FORMAT.prepare(options.output)  # before the work rather than after it
    use_columns(options, None)
    table = training_table(options)
    storage = options.storage
    if storage is None:
        storage = str(output.with_name(f"{output.name}.trials.db"))
    with logging_to_stderr(quiet=options.quiet) as log:
        tuning = tune(
            table.texts,
            table.labels,
            minutes=options.minutes,
            trials=options.trials,
            storage=storage,
            progress=False if options.quiet else None,
            **given_parameters(options),
        )
        columns = columns_of(options.train, options)
        tuning.classifier.save(options.output, weights=options.weights, columns=columns)
        if tuning.trials:
            picture = output.with_name(f"{output.name}.trials.png")
            plot_trials(tuning.trials).savefig(picture)
            log.info("Saved to %s, and the picture of the trials to %s.", options.output, picture)
        else:
            log.info("Saved to %s. The time was too short for a trial.", options.output)
    write_trained(tuning.classifier, table, None, options, settings=tuning.params)
    return 130 if tuning.classifier.stopped_ == CTRL_C else 0
