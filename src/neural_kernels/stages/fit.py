"""From a table to a model and its report, and from the model to predictions, without a study: ``fit`` and ``predict``.

A model is a folder:

    model.json          columns, architecture, ridge, weights, and the checksum of training.csv
    training.csv        the rows that were fitted on, as they came
    store/              the kernel's blocks, from which an interrupted fit goes on and predictions are made
    left_out.csv        rows that could not be used, each with the reason
    report.pdf          what the left-out predictions say of it
    leave_one_out.csv   each row as all others predict it, by its line in the table that was given
    folds.csv           the scores of each fold, where a column of folds is given
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

from neural_kernels.architectures import Composite
from neural_kernels.datasets import molecules, user_tables, variants
from neural_kernels.datasets.mutations import mutated, read_wild_type
from neural_kernels.datasets.user_tables import UserTable
from neural_kernels.errors import UserError
from neural_kernels.estimators import NeuralKernelClassifier, NeuralKernelRegressor, examples
from neural_kernels.estimators.defaults import terms_for
from neural_kernels.estimators.examples import Encoding
from neural_kernels.machine.threads import thread_limit
from neural_kernels.prediction import choosing, left_out
from neural_kernels.prediction import table as predictions_table
from neural_kernels.stages.fit_folds import (
    cross_validate,
    fold_labels,
    refuse_letters_of_one_fold,
    write_scores,
)
from neural_kernels.storage import checksums, disk, locks
from neural_kernels.storage.files import damaged, read_json, write_atomically, write_json

log = logging.getLogger(__name__)

MODEL, TRAINING, STORE, LEFT_OUT, REPORT, FOLDS, BY_ROW = (
    "model.json", "training.csv", "store", "left_out.csv", "report.pdf", "folds.csv", "leave_one_out.csv",
)  # fmt: skip
SUFFIXES = (".csv", ".parquet")
FEWEST = 20
"""Rows without which there is nothing to judge: a conformal interval of 95 % takes so many."""
LONGEST_NAME = 40
"""Letters of a sequence that it is called by."""
MOST_DRAWN = 5000
"""Rows at which a function is drawn: their joint covariance is dense."""


@dataclass(frozen=True)
class Columns:
    """What is learned from what.

    Attributes:
        inputs: "molecules", "strings" or "table".
        seen: the columns that inputs are in.
        targets: the columns to learn.
        classes: whether these are classes.
        wild_type: of which the inputs are mutations, None where they are sequences themselves.
    """

    inputs: str
    seen: tuple[str, ...]
    targets: tuple[str, ...]
    classes: bool
    wild_type: str | None = None

    def texts(self, table: UserTable) -> list[str]:
        """SMILES or sequences; a row that is no variant is empty."""
        found = table.texts(self.seen[0])
        return found if self.wild_type is None else [self._variant(text)[0] for text in found]

    def fault(self, text: str) -> str | None:
        """Why a field is no variant of the wild type."""
        return None if self.wild_type is None else self._variant(text)[1]

    def _variant(self, text: str) -> tuple[str, str | None]:
        assert self.wild_type is not None
        try:
            return mutated(self.wild_type, text), None
        except ValueError as error:
            return "", f"{text[:200]!r} {error}"


def fit_table(
    path: Path,
    results: Path,
    smiles: str | None,
    sequence: str | None,
    mutations: str | None,
    wild_type: str | None,
    features: list[str] | None,
    targets: list[str],
    output: Path | None,
    config: Path | None,
    architecture: str | None,
    task: str | None,
    folds: str | None,
    threads: int | None,
) -> str:
    """Fit a model to a table, write its folder, and return a sentence on it; or write the study that does.

    Args:
        path: a .csv or .csv.gz file.
        smiles, sequence, mutations: the column of molecules, of sequences, or of what differs from ``wild_type``, a
            sequence or a FASTA file; ``features`` are columns of numbers otherwise.
        targets: columns to learn, blank where a value is missing.
        results: of the study that ``config`` becomes.
        output: the folder; one with the same model goes on where it was.
        config: in place of it, the study to write.
        architecture: a name; None is what suits the inputs.
        task: "regression" or "classification"; None goes by the values.
        folds: a column that says each row's fold; each is then predicted from the others as well, for the report.

    Raises:
        UserError: a mistake in the table or in what is asked for.
    """
    if (output is None) == (config is None):
        raise UserError(
            "expected either --output, the folder of the model, or --write-config, the study that fits it on a cluster"
        )
    if config is not None and folds is not None:
        raise UserError("--folds is of a fit, expected none beside --write-config")
    if output is not None:
        disk.check_folder("--output", output, writes=True)
    table = user_tables.read(path)
    if (mutations is None) != (wild_type is None):
        raise UserError("--mutations and --wild-type are given together or not at all")
    given = {"--smiles": smiles, "--sequence": sequence, "--mutations": mutations, "--features": features}
    columns = _columns(table, given, targets, task, folds)
    if wild_type is not None:
        columns = replace(columns, wild_type=read_wild_type(wild_type))
    usable, reasons = _usable(table, columns, folds=folds)
    if len(usable) < FEWEST:
        raise UserError(
            f"{path}: {len(usable)} of {len(table.rows)} rows can be used, expected at least {FEWEST}"
        )
    part = _part(table, usable)
    if output is None:
        assert config is not None
        left_out.say(path, reasons)
        from neural_kernels.stages import fit_study

        x = _inputs(part, columns)
        learned = fit_study.Learned(
            columns.inputs, x, _values(part, columns), columns.targets, columns.classes
        )
        return fit_study.write_study(config, results, path.name, learned, architecture)
    labels = None
    if folds is not None:
        labels = fold_labels(part, folds, columns.targets)
        if columns.inputs == "strings":
            refuse_letters_of_one_fold(columns.texts(part), labels, folds)
    training = _written([table.header, *(table.rows[row] for row in usable)])
    record = {"version": 1, "columns": asdict(columns), "architecture": architecture}
    record |= {"training": checksums.of_bytes(np.frombuffer(training, np.uint8))}
    with locks.alone(output / "lock", str(output)):
        _begin(output, record)
        write_atomically(output / TRAINING, lambda file: file.write(training))
        write_atomically(output / LEFT_OUT, lambda file: file.write(left_out.content(reasons)))
        left_out.say(path, reasons)
        with thread_limit(threads):
            x, y = _inputs(part, columns), _values(part, columns)
            with one_sentence():
                model = _estimator(record, output / STORE).fit(x, y)
            found = {"ridge": model.ridge_, "weights": list(model.weights_)}
            write_json(output / MODEL, record | found)
            from neural_kernels.reports import fitted_model, fold_tables

            # Of an earlier fit, which may have had other folds.
            (output / FOLDS).unlink(missing_ok=True)
            tables, said = [], ""
            if folds is not None and labels is not None:
                alone = _estimator(record, None)
                if columns.inputs == "strings":
                    alone.set_params(sequence_length=max(map(len, x)))
                with one_sentence():
                    scores = cross_validate(alone, x, y, labels, columns.targets)
                write_scores(output / FOLDS, scores)
                tables, said = (
                    fold_tables.fold_tables(folds, scores),
                    f"; {fold_tables.sentence(folds, scores)}",
                )
            title = f"{', '.join(columns.targets)} from {path.name}"
            flat, differing = _flat(x, columns), _mutations(x, columns)
            own = differing is None or columns.wild_type is not None
            names = _names(part, columns) if own or differing is None else differing.names
            summary = fitted_model.write_report(
                output / REPORT,
                title,
                columns.targets,
                model,
                flat,
                y,
                names,
                tables,
                columns.inputs,
                None if differing is None else (differing.counts, differing.reference),
            )
            if not columns.classes:
                by_row = _left_out_rows(model, columns, y, part.lines)
                write_atomically(
                    output / BY_ROW, lambda file: file.write(by_row.to_csv(index=False).encode())
                )
    return f"{output / REPORT}: {summary}{said}"


def predict_table(
    folder: Path, path: Path, output: Path | None, threads: int | None = None, seed: int = 0
) -> str:
    """Predict the rows of a table by a model that ``fit_table`` made, write the table, and return a sentence on it.

    The user's columns come first; then for a regression, of each target: ``prediction``; ``std``, what a new
    measurement is expected within; ``std_function``, that of the function without noise; ``low_95`` and ``high_95``,
    the conformal interval; ``expected_improvement`` over the best training value, for those who look for large ones;
    ``upper_confidence_bound``, two standard deviations of the function above the prediction; ``rank``, 1 of the largest
    prediction; ``thompson``, one draw from the joint posterior. Rows that are left out are listed with the reason in a
    table beside it. For classes ``class`` and ``probability_...``. Last the nearest
    training example by the kernel, its line in training.csv, and their correlation.

    Raises:
        UserError: no model, a damaged one, or a table without its columns.
    """
    record = load(folder)
    columns = Columns(**{key: _tuple(value) for key, value in record["columns"].items()})
    own_name = path.name.removesuffix(".gz").removesuffix(".csv")
    output = path.with_name(f"{own_name}_predictions.csv") if output is None else output
    if output.suffix not in SUFFIXES:
        raise UserError(f"{output}: found the ending {output.suffix!r}, expected {' or '.join(SUFFIXES)}")
    inside = folder.resolve() in output.resolve().parents
    if output.is_dir() or inside or output.resolve() == path.resolve():
        raise UserError(
            f"{output} is a folder, the table of inputs or in the folder of the model, expected another place for the "
            "predictions"
        )
    listed = left_out.listed_in(output, path)
    table = user_tables.read(path)
    training, known = user_tables.read(folder / TRAINING), None
    if columns.inputs == "strings":
        known, _ = examples.learned(columns.texts(training), "strings")
    usable, reasons = _usable(table, columns, targets=False, known=known)
    if not usable:
        raise UserError(f"{path}: none of its {len(table.rows)} rows can be used; the first: {reasons[0][1]}")
    left_out.say(path, reasons)
    with thread_limit(threads):
        part = _part(table, usable)
        own = pd.DataFrame(part.rows, columns=part.header, dtype=str)
        with one_sentence():
            model = _estimator(record, folder / STORE).fit(
                _inputs(training, columns), _values(training, columns)
            )
            found = _predictions(model, _inputs(part, columns), columns, seed, training.lines)
    result = predictions_table.beside(own, found)
    said = left_out.write(listed, reasons)
    write_atomically(output, lambda file: predictions_table.write(result, output.suffix, file))
    return f"{output}: {len(result)} predictions, {said}"


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """What estimators refuse, as the command line says it."""
    try:
        yield
    except ValueError as error:
        raise UserError(str(error)) from None


def load(folder: Path) -> dict[str, Any]:
    """What model.json says.

    Raises:
        UserError: no finished model is there, or its training table is not what was fitted on.
    """
    if not (folder / MODEL).exists():
        raise UserError(f"{folder} has no {MODEL}, expected the folder that neural-kernels fit wrote")
    record = read_json(folder / MODEL)
    if "ridge" not in record:
        raise UserError(f"{folder}: the fit did not end: run its command again, it goes on")
    content = (folder / TRAINING).read_bytes() if (folder / TRAINING).exists() else b""
    if checksums.of_bytes(np.frombuffer(content, np.uint8)) != record["training"]:
        raise damaged(folder / TRAINING, f"is not what {MODEL} was fitted on")
    return record


def _begin(folder: Path, record: dict[str, Any]) -> None:
    """Refuse a folder that holds another model, or something else."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MODEL).exists():
        there = read_json(folder / MODEL)
        begun = "ridge" in there or any(folder.glob(f"{STORE}/**/blocks/*"))
        same = json.loads(json.dumps(record)).items() <= there.items()
        if not same and not begun:
            write_json(folder / MODEL, record)
        elif not same:
            raise UserError(
                f"{folder} holds a model of another table, other columns or another architecture: give another --output"
            )
        return
    known = ("lock", TRAINING, LEFT_OUT)
    foreign = [entry.name for entry in folder.iterdir() if entry.name not in known]
    if foreign:
        raise UserError(f"{folder} holds {foreign[0]}, expected the folder of a model, or a new one")
    write_json(folder / MODEL, record)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _columns(
    table: UserTable, given: dict[str, Any], targets: list[str], task: str | None, folds: str | None
) -> Columns:
    """What the options say, by their flags."""
    named = [flag for flag, value in given.items() if value]
    if len(named) > 1:
        raise UserError(f"{' and '.join(named)} are given, expected one of {', '.join(given)}")
    seen: tuple[str, ...]
    if named and named[0] != "--features":
        seen = (given[named[0]],)
        table.texts(seen[0])
    else:
        others = [name for name in table.header if name not in targets and name != folds]
        seen = tuple(given["--features"] or [name for name in others if table.is_numeric(name)])
        if not given["--features"]:
            _say_what_is_seen(table, seen, others)
        if not seen:
            raise UserError(
                f"{table.path} has no columns of numbers beside {', '.join(targets)}, expected --smiles, --sequence or "
                "--features"
            )
    for name in (*targets, *seen):
        if (*targets, *seen).count(name) > 1 and not (name in targets and name in seen):
            raise UserError(f"{name} is given twice, expected each column once")
    if folds is not None:
        table.texts(folds)
        if folds in (*targets, *seen):
            raise UserError(
                f"{folds} is both the column of folds and a target or an input, expected one of them"
            )
    for name in targets:
        table.texts(name)
        if name in seen:
            raise UserError(f"{name} is both a target and an input, expected one of them")
    classes = task == "classification" or (task is None and _are_classes(table, targets))
    if classes and len(targets) > 1:
        raise UserError(
            f"the targets {', '.join(targets)} are classes, expected one column of them: fit each by itself, or say "
            "--task regression for numbers"
        )
    if classes and folds is not None:
        raise UserError(
            f"--folds gives scores of numbers, but {targets[0]} has classes: leave it out, or say --task regression"
        )
    kinds = {"--smiles": "molecules", "--sequence": "strings", "--mutations": "strings"}
    inputs = kinds.get(named[0], "table") if named else "table"
    return Columns(inputs, seen, tuple(targets), classes)


def _say_what_is_seen(table: UserTable, seen: Sequence[str], others: Sequence[str]) -> None:
    log.info("learned from %s", ", ".join(seen))
    for name in others:
        fields = list(filter(None, table.texts(name)))
        texts = [text for text in fields if not user_tables.is_number(text)]
        if name not in seen and 2 * len(texts) < len(fields):
            log.warning(
                "column %s is not learned from: %d of its fields are no numbers, as %r",
                name,
                len(texts),
                texts[0],
            )


def _are_classes(table: UserTable, targets: Sequence[str]) -> bool:
    """Whether targets are classes: texts, or 0 and 1 alone.

    Raises:
        UserError: a column of numbers with a few texts among them, which is neither.
    """
    for name in targets:
        fields = list(filter(None, table.texts(name)))
        numbers = sum(map(user_tables.is_number, fields))
        if numbers < len(fields):
            if 2 * numbers > len(fields):
                table.numbers([name])  # which says where
            return True
    if len(targets) > 1:
        return False
    values = table.numbers(targets)
    return bool(np.isin(values[~np.isnan(values)], (0.0, 1.0)).all())


def _usable(
    table: UserTable,
    columns: Columns,
    targets: bool = True,
    known: Encoding | None = None,
    folds: str | None = None,
) -> tuple[list[int], list[left_out.LeftOut]]:
    """Rows that can be used, and the lines of the others with the reason.

    Args:
        known: of the sequences that were trained on, which others have to be like.
        folds: the column in which each has its fold, where there is one.
    """
    reasons: dict[int, str] = {}
    if folds is not None:
        reasons |= {row: f"no value for {folds}" for row, text in enumerate(table.texts(folds)) if not text}
    if targets:
        fields = [table.texts(name) for name in columns.targets]
        for row in range(len(table.rows)):
            if not any(column[row] for column in fields):
                reasons[row] = f"no value for {', '.join(columns.targets)}"
    if columns.inputs == "table":
        numbers = table.numbers(columns.seen)
        for row, gap in np.argwhere(np.isnan(numbers)):
            reasons.setdefault(int(row), f"no value for {columns.seen[gap]}")
    else:
        for row, text in enumerate(table.texts(columns.seen[0])):
            if not text:
                reasons.setdefault(row, f"no value for {columns.seen[0]}")
            elif fault := columns.fault(text):
                reasons.setdefault(row, fault)
        texts = columns.texts(table)
        if columns.inputs == "molecules":
            sound = set(molecules.parse(texts).rows.tolist())
            for row, text in enumerate(texts):
                if row not in sound:
                    reasons.setdefault(row, f"{text[:200]!r} is no molecule to RDKit")
        else:
            for row, text in enumerate(texts):
                if not text.isascii() or not text.isprintable() or not text or "?" in text or " " in text:
                    reasons.setdefault(row, f"{text[:200]!r} is no sequence of letters")
                elif known is not None and len(text) > (known.shape[0] or 0):
                    reasons.setdefault(
                        row, f"it has {len(text)} letters, more than any trained on, {known.shape[0]}"
                    )
                elif known is not None and (strange := set(text.upper()) - set(known.letters)):
                    reasons.setdefault(row, f"it has {min(strange)!r}, a letter that was not trained on")
    usable = [row for row in range(len(table.rows)) if row not in reasons]
    return usable, [(table.lines[row], reason) for row, reason in sorted(reasons.items())]


def _part(table: UserTable, rows: Sequence[int]) -> UserTable:
    return UserTable(
        table.path, table.header, [table.rows[row] for row in rows], [table.lines[row] for row in rows]
    )


def _inputs(table: UserTable, columns: Columns) -> Any:
    return table.numbers(columns.seen) if columns.inputs == "table" else columns.texts(table)


def _values(table: UserTable, columns: Columns) -> np.ndarray:
    if columns.classes:
        return np.array(table.texts(columns.targets[0]))
    values = table.numbers(columns.targets)
    return values[:, 0] if len(columns.targets) == 1 else values


def _flat(x: Any, columns: Columns) -> np.ndarray:
    """What baselines are fitted to: standardised numbers, fingerprints, or one-hot letters."""
    if columns.inputs == "table":
        return np.asarray(StandardScaler().fit_transform(x))
    if columns.inputs == "molecules":
        return molecules.fingerprints(x)
    _, letters = examples.learned(x, "strings")
    assert isinstance(letters, np.ndarray)
    return letters.reshape(len(letters), -1)


class _Mutations(NamedTuple):
    """Of sequences: how many positions differ (n,), from what, in words, and what each is called."""

    counts: np.ndarray
    reference: str
    names: list[str]


def _mutations(texts: Sequence[str], columns: Columns) -> _Mutations | None:
    """Against the wild type, or the commonest letters; sequences that are short are called by themselves."""
    if columns.inputs != "strings":
        return None
    width = max(map(len, (*texts, columns.wild_type or "")))
    given = [text.upper().ljust(width, "-") for text in (*texts, columns.wild_type or "")]
    letters = sorted(set("".join(given)))
    codes = np.searchsorted(letters, np.array(list(map(list, given))))
    one_hot = np.eye(len(letters), dtype=np.uint8)[codes[:-1]]
    if columns.wild_type is not None:
        reference, words = codes[-1], "the wild type"
    else:
        reference, words = variants.commonest(one_hot), "the commonest letters of the table"
    counts = variants.differences(one_hot, reference)
    short = width <= LONGEST_NAME
    names = list(texts) if short else variants.named(one_hot, reference, "".join(letters))
    return _Mutations(counts, words, names)


def _left_out_rows(model: Any, columns: Columns, y: np.ndarray, lines: Sequence[int]) -> pd.DataFrame:
    """What each training row is predicted by all others, and what it is expected within."""
    found: dict[str, Any] = {"line": list(lines)}
    values = [
        np.asarray(array).reshape(len(y), -1) for array in (y, model.loo_predictions_, model.loo_spread())
    ]
    for k, name in enumerate(columns.targets):
        suffix = f"_{name}" if len(columns.targets) > 1 else ""
        keys = ("measured", "prediction", "std")
        found |= {f"{key}{suffix}": array[:, k] for key, array in zip(keys, values, strict=True)}
    return pd.DataFrame(found)


def _names(table: UserTable, columns: Columns) -> list[str]:
    """What examples are called."""
    if columns.inputs == "table":
        return [f"line {line}" for line in table.lines]
    return table.texts(columns.seen[0])


def _estimator(record: dict[str, Any], store: Path | None) -> Any:
    """What is fitted: with the ridge and the weights that were chosen, where they were; in memory without a store."""
    columns, architecture = record["columns"], record["architecture"]
    inputs = columns["inputs"]
    if "weights" in record and len(record["weights"]) > 1:
        asked = "auto" if architecture is None and inputs == "molecules" else inputs
        terms = terms_for(architecture, ["C1"], asked, "auto")
        architecture = Composite(terms).with_weights(record["weights"])
    if inputs == "molecules":
        inputs = "auto" if architecture is None else inputs
    kind = NeuralKernelClassifier if columns["classes"] else NeuralKernelRegressor
    return kind(architecture, inputs=inputs, ridge=record.get("ridge", "loo"), store=store)


def _predictions(
    model: Any, x: Any, columns: Columns, seed: int, lines: Sequence[int]
) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    count, x = len(x), model.read(x)
    if columns.classes:
        probabilities = model.predict_proba(x)
        found["class"] = model.classes_[probabilities.argmax(axis=1)]
        for name, column in zip(model.classes_, probabilities.T, strict=True):
            found[f"probability_{name}"] = column
    else:
        mean, function = model.predict(x, return_std=True, noise=False)
        std = np.hypot(function, model.noise_std_)
        reach = model.interval_reach()
        low, high = mean - reach * std, mean + reach * std
        best = model.best_values()
        drawn = model.sample_y(x, 1, random_state=seed) if count <= MOST_DRAWN else None
        if drawn is None:
            log.warning("no column thompson: %d rows are more than %d", count, MOST_DRAWN)
        for k, name in enumerate(columns.targets):
            suffix = f"_{name}" if len(columns.targets) > 1 else ""
            one = [array if array.ndim == 1 else array[:, k] for array in (mean, std, function, low, high)]
            keys = ("prediction", "std", "std_function", "low_95", "high_95")
            found |= {f"{key}{suffix}": array for key, array in zip(keys, one, strict=True)}
            chosen = choosing.columns(one[0], one[2], float(best[k]))
            found |= {f"{key}{suffix}": column for key, column in chosen.items()}
            if drawn is not None:
                found[f"thompson{suffix}"] = drawn[..., 0] if drawn.ndim == 2 else drawn[:, k, 0]
    places, similarity = model.nearest(x)
    found["nearest_training_line"], found["nearest_similarity"] = np.array(lines)[places], similarity
    return found


def _written(rows: Sequence[Sequence[Any]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode()
