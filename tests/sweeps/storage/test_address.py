"""No secret of an address is shown, wherever a parser may see it; what is no secret stays."""

from pathlib import Path
from urllib.parse import quote, urlencode

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import given

from sweeps.storage.address import hide_secrets, show_address
from sweeps.storage.location import remote_message
from sweeps.tracking.uri import default_uri, sqlite_file, unknown_sweep_error, unreachable_error

SCHEMES = ["postgresql", "mysql+pymysql", "mssql+pyodbc", "postgresql+psycopg", "http", "https", "s3", "abfss"]
MARK = "zqx"
"""Stands in every secret and nowhere else; parsers divide secrets at the other characters."""
schemes = st.sampled_from(SCHEMES)
parts = st.lists(st.text("/@?#:&=;%+ ab1", max_size=3), min_size=1, max_size=4)
secrets = parts.map(lambda between: MARK.join(["", *between, ""]))
users = st.sampled_from(["u", "me", ""])
raw = st.builds("{0}://{1}:{2}@host:5000/db".format, schemes, users, secrets)
quoted = st.builds("{0}://u:{1}@host/db".format, schemes, secrets.map(lambda secret: quote(secret, safe="")))
token = st.builds("{0}://{1}@host/db".format, schemes, secrets)
query = st.builds(
    lambda scheme, name, secret: f"{scheme}:///?{urlencode({name: secret, 'timeout': 5})}",
    st.sampled_from(SCHEMES),
    st.sampled_from(["password", "sig", "odbc_connect", "anything"]),
    secrets,
)


@given(st.one_of(raw, quoted, token, query), secrets)
def test_no_secret_is_shown(address: str, other: str) -> None:
    assert MARK not in show_address(address)
    assert MARK not in hide_secrets(f"could not reach {address}: refused", address)
    secret = address.partition("://")[2].rpartition("@")[0].partition(":")[2]
    for words in (address, f"cannot log in with {secret}", f"no host {address.partition('@')[2]}"):
        for error in (unreachable_error(address, RuntimeError(words)), unknown_sweep_error("x", address, [])):
            assert MARK not in str(error)
    assert MARK not in (remote_message(Path(address)) or "")


@given(secrets, st.sampled_from(["postgresql", "mssql+pyodbc"]))
def test_what_sqlalchemy_itself_would_write_is_shown_but_for_the_password(secret: str, scheme: str) -> None:
    url = sa.URL.create(scheme, "u", secret, "db.example.com", 5432, "mlflow", {"timeout": "5", "password": secret})
    shown = show_address(url.render_as_string(hide_password=False))
    assert shown == f"{scheme}://***@db.example.com:5432/mlflow?password=***&timeout=5"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://u:s3cr/et@db/mlflow", "postgresql://***@db/mlflow"),
        ("http://bob:hun@ter2@host:5000", "http://***@host:5000"),
        ("mssql+pyodbc:///?odbc_connect=SERVER%3Ddb%3BPWD%3Dhunter2", "mssql+pyodbc:///?odbc_connect=***"),
        ("abfss://box@account.dfs.core.windows.net/x?sig=SECRET", "abfss://***@account.dfs.core.windows.net/x?sig=***"),
        (
            "s3://bucket/results?region=eu-central-1&secret_key=x",
            "s3://bucket/results?region=eu-central-1&secret_key=***",
        ),
        ("http://user:s3cret", "http://***"),
        ("http://host/x?TOKEN#more", "http://host/x?***#***"),
        ("sqlite:////home/me@work/mlflow.db?timeout=5", "sqlite:////home/me%40work/mlflow.db?timeout=5"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("databricks", "databricks"),
        ("results/a@b", "results/a@b"),
    ],
)
def test_examples(address: str, shown: str) -> None:
    assert show_address(address) == shown
    assert hide_secrets(f"no route to ({address}): gone", address) == f"no route to ({shown}): gone"


@given(st.text("ab %?#@&=+.ü'-", min_size=1, max_size=12).filter(lambda name: name.strip(". ") == name != ""))
def test_a_storage_of_any_name_has_its_own_tracking_file(name: str) -> None:
    folder = Path("/tmp/somewhere") / name
    assert sqlite_file(default_uri(folder)) == folder / "mlflow.db"
    assert sa.create_engine(default_uri(folder)).url.database == str(folder / "mlflow.db")


@pytest.mark.parametrize("name", ["runs 50%25 off", "a%20b", "what?x=1"])
def test_percent_and_question_mark(name: str) -> None:
    assert sqlite_file(default_uri(Path("/tmp/somewhere") / name)) == Path("/tmp/somewhere") / name / "mlflow.db"
