from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hansang.errors import ModelError, UntrustedModel
from hansang.models.artifact import Artifact
from hansang.models.runtime import load_runtime
from hansang.models.trust import known_type
from hansang.models.uri import resolve


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", ["pkl", "pickle", "joblib"])
def test_a_pickle_is_refused_before_a_byte_of_it_runs(tmp_path: Path, suffix: str) -> None:
    ran = tmp_path / "ran"
    (tmp_path / f"model.{suffix}").write_bytes(pickle.dumps(Bomb(ran)))
    found = resolve(str(tmp_path / f"model.{suffix}"))
    with pytest.raises(
        UntrustedModel,
        match=rf"model.{suffix} is a pickle: loading it can run any code; .*trust=True or HANSANG_TRUST=",
    ):
        load_runtime(found)
    assert not ran.exists()


def test_a_trusted_pickle_is_loaded(files: Path) -> None:
    runtime = load_runtime(resolve(str(files / "linear.joblib")), trust=True)
    assert runtime.name == "sklearn" and runtime.signature


def test_a_registered_pickle_names_the_model_in_the_cure(model: Callable[[str], Artifact]) -> None:
    with pytest.raises(
        UntrustedModel, match=r"models:/pickled/1: model.pkl is a pickle.*HANSANG_TRUST=models:/pickled/1"
    ):
        load_runtime(model("pickled/1"))


def test_a_pickle_that_calls_itself_skops_is_still_a_pickle(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Bomb(ran)))
    (tmp_path / "MLmodel").write_text(
        "flavors: {sklearn: {pickled_model: model.pkl, serialization_format: skops, skops_trusted_types: [Bomb]}}"
    )
    with pytest.raises(UntrustedModel):
        load_runtime(resolve(str(tmp_path)))
    (tmp_path / "model.pkl").rename(tmp_path / "model.skops")
    (tmp_path / "MLmodel").write_text("flavors: {sklearn: {pickled_model: model.skops}}")
    with pytest.raises(ModelError, match="cannot be read as skops"):
        load_runtime(resolve(str(tmp_path)))
    assert not ran.exists()


@pytest.mark.parametrize("name", ["python/1", "hinted/1", "kinds/1"])
def test_a_python_model_is_refused(model: Callable[[str], Artifact], name: str) -> None:
    with pytest.raises(
        UntrustedModel, match=r"python_model.pkl is loaded by mlflow.pyfunc.model, which can run any code"
    ):
        load_runtime(model(name))


@pytest.mark.parametrize(
    ("flavors", "message"),
    [
        ("python_function: {loader_module: mlflow.pytorch, data: data}", "data is loaded by mlflow.pytorch"),
        ("python_function: {loader_module: my.loader}", "MLmodel is loaded by my.loader"),
        ("python_function: {}", "is loaded by an unknown module"),
        ("python_function: {loader_module: mlflow.catboost, data: model.cb, code: code}", "model.cb is loaded by"),
        ("python_function: {loader_module: mlflow.pyfunc.model, model_code_path: m.py}", "m.py is loaded by"),
    ],
)
def test_loaders_that_can_run_code_are_refused(tmp_path: Path, flavors: str, message: str) -> None:
    (tmp_path / "MLmodel").write_text(f"flavors:\n  {flavors}\n")
    with pytest.raises(UntrustedModel, match=message):
        load_runtime(resolve(str(tmp_path)))


def test_a_skops_type_of_nobody_is_refused_by_name_even_if_the_model_trusts_it(files: Path, tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes((files / "odd.skops").read_bytes())
    (tmp_path / "MLmodel").write_text(
        "flavors: {sklearn: {pickled_model: model.skops, skops_trusted_types: [__main__.Odd]}}"
    )
    for found in (resolve(str(tmp_path)), resolve(str(files / "odd.skops"))):
        with pytest.raises(
            UntrustedModel, match=r"holds types that are not known to be safe: __main__.Odd; .*trust=True"
        ):
            load_runtime(found)


@pytest.mark.parametrize("name", ["forest.skops", "wrapped.skops"])
def test_skops_of_known_libraries_needs_no_trust(files: Path, name: str) -> None:
    assert load_runtime(resolve(str(files / name))).name == "sklearn"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("sklearn.ensemble._forest.RandomForestClassifier", True),
        ("numpy.float64", True),
        ("scipy.special.expit", True),
        ("lightgbm.basic.Booster", True),
        ("xgboost.sklearn.XGBClassifier", True),
        ("collections.OrderedDict", True),
        ("numpy.load", False),
        ("numpy.testing._private.utils.suppress_warnings", False),
        ("numpy.nothing", False),
        ("scipy.nothing.Thing", False),
        ("sklearn_evil.Thing", False),
        ("lightgbm.basic.Dataset", False),
        ("os.system", False),
        ("builtins.eval", False),
        ("", False),
    ],
)
def test_only_classes_and_universal_functions_of_known_libraries_are_known(name: str, known: bool) -> None:
    assert known_type(name) is known


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.onnx", b"garbage garbage", "m.onnx is not an ONNX model"),
        ("m.onnx", b"", "m.onnx is not an ONNX model"),
        ("m.txt", b"hello\n", "m.txt is not a LightGBM model; expected a text file that Booster.save_model wrote"),
        ("m.txt", b"", "is not a LightGBM model"),
        ("m.json", b"[1]", "m.json is not an XGBoost model; expected JSON or UBJSON that save_model wrote"),
        ("m.json", b'{"a": 1}', "m.json cannot be read by XGBoost: .*expected a whole file"),
        ("m.ubj", b"{garbage", "m.ubj cannot be read by XGBoost"),
        ("m.skops", b"garbage", "m.skops cannot be read as skops .*expected a skops file"),
        ("m.joblib", b"garbage", "m.joblib cannot be unpickled .*expected a pickled model"),
        ("m.pkl", pickle.dumps({"a": 1}), "m.pkl holds a dict, which has no predict; expected an estimator"),
        ("m.pkl", b"cnowhere\nThing\n.", "m.pkl cannot be unpickled .*the packages that it was made with"),
    ],
)
def test_a_file_that_is_not_a_model_is_named_with_what_was_expected(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_runtime(resolve(str(tmp_path / name)), trust=True)


@pytest.mark.parametrize(
    "name", ["linear.onnx", "trees.txt", "trees.json", "trees.ubj", "forest.skops", "linear.joblib"]
)
def test_a_truncated_file_is_said(files: Path, tmp_path: Path, name: str) -> None:
    whole = (files / name).read_bytes()
    for part in (0.1, 0.5, 0.9):
        (tmp_path / name).write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(ModelError, match=name):
            load_runtime(resolve(str(tmp_path / name)), trust=True)


def test_flavors_without_a_runtime_are_said(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {crystal: {}}")
    with pytest.raises(ModelError, match="no runtime for the flavors crystal; expected one of onnx, lightgbm"):
        load_runtime(resolve(str(tmp_path)))


def test_a_zip_of_something_else_is_no_skops(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.skops", "w") as archive:
        archive.writestr("schema.json", "{}")
    with pytest.raises(ModelError, match="cannot be read as skops"):
        load_runtime(resolve(str(tmp_path / "m.skops")))
