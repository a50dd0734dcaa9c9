"""The verb ``predict``: by what a study has solved, or by a model that ``fit`` made."""

from __future__ import annotations

from pathlib import Path

from neural_kernels.errors import UserError


def predict(
    path: Path,
    results: Path,
    new: Path | None,
    kernel: str | None,
    inputs: Path | None,
    output: Path | None,
    size: int | None,
    variance: bool,
    samples: int,
    seed: int,
    each_variance: bool,
    threads: int | None,
) -> str | None:
    """Predict; arguments as of ``predict.predict_inputs`` and ``fit.predict_table``.

    Args:
        path: a study's config, or the folder of a model.
        new, inputs: the inputs, one of them given.

    Raises:
        UserError: an option that is missing or has no meaning, or as those.
    """
    if (new is None) == (inputs is None):
        raise UserError("found no inputs, or two, expected one file: predict MODEL NEW, or --inputs NEW")
    given = new or inputs
    assert given is not None
    if path.is_dir():
        found = {"--kernel": kernel, "--size": size, "--variance": variance, "--samples": samples}
        found |= {"--each-variance": each_variance}
        if useless := [flag for flag, value in found.items() if value]:
            raise UserError(
                f"{useless[0]} is for a study, but {path} is a folder: a model's predictions have their spread and a "
                "sample anyway"
            )
        from neural_kernels.stages.fit import predict_table

        return predict_table(path, given, output, threads, seed)
    if not path.exists():
        raise UserError(
            f"{path} is neither a study's config nor the folder of a model: there is no such file"
        )
    for flag, value in (("--kernel", kernel), ("--output", output)):
        if value is None:
            raise UserError(f"predictions by a study need {flag}")
    from neural_kernels.stages.predict import predict_inputs
    from neural_kernels.study.study import load_study

    assert kernel is not None
    assert output is not None
    predict_inputs(
        load_study(path),
        results,
        kernel,
        given,
        output,
        size,
        variance,
        samples,
        seed,
        each_variance,
        threads,
    )
    return None
