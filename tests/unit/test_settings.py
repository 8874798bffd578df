"""Settings of a broker, from the environment and from files; none of them is shown when it is wrong."""

from __future__ import annotations

import pytest

from headrace.functions.errors import SettingsError
from headrace.runtime.settings import Settings, app_of, read_settings

WORD = "hunter2"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def kafka(monkeypatch, tmp_path):
    def read(**settings):
        for name, value in settings.items():
            monkeypatch.setenv(f"HEADRACE_KAFKA__{name.upper()}", value)
        return read_settings(tmp_path).kafka

    return read


def test_every_setting_of_kafka_is_read_from_the_environment(kafka):
    read = kafka(
        security_protocol="sasl_ssl",
        sasl_mechanism="scram-sha-512",
        sasl_username="carol",
        sasl_password=WORD,
        ssl_cafile="ca.pem",
        session_timeout="30",
        rebalance_timeout="40.5",
        max_poll_interval="600",
        replication_factor="3",
        instance_id="host-1",
        compression="zstd",
    )
    assert (read.security_protocol, read.sasl_mechanism, str(read.ssl_cafile)) == (
        "SASL_SSL",
        "SCRAM-SHA-512",
        "ca.pem",
    )
    assert (read.session_timeout, read.rebalance_timeout, read.max_poll_interval) == (30.0, 40.5, 600.0)
    assert (read.replication_factor, read.instance_id, read.compression) == (3, "host-1", "zstd")
    assert read.sasl_password.get_secret_value() == WORD


@pytest.mark.parametrize("word", ["123", '{"a": 1}', "[1, 2]", "null", '"', "p w"])
def test_a_password_is_taken_as_it_is(kafka, word):
    assert kafka(sasl_password=word).sasl_password.get_secret_value() == word


def test_an_empty_variable_is_one_that_is_not_set(kafka):
    assert kafka(sasl_password="", session_timeout="").sasl_password is None


def test_files_and_environment_are_put_together_key_by_key(kafka, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.headrace.kafka]\nsasl_username = "a"\nssl_cafile = "ca.pem"\n')
    (tmp_path / "headrace.toml").write_text('[kafka]\nsasl_username = "b"\n')
    read = kafka(sasl_password=WORD)
    assert (read.sasl_username, str(read.ssl_cafile), read.sasl_password.get_secret_value()) == ("b", "ca.pem", WORD)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sasl_pasword": WORD}, r"no setting 'kafka.sasl_pasword' \(HEADRACE_KAFKA__SASL_PASWORD\); did you mean"),
        ({"security_protocol": WORD}, "kafka.security_protocol: Input should be 'PLAINTEXT', 'SSL'"),
        ({"sasl_mechanism": WORD}, "kafka.sasl_mechanism: Input should be 'PLAIN'"),
        ({"session_timeout": WORD}, "kafka.session_timeout: Input should be a valid number"),
        ({"max_poll_interval": "0"}, "kafka.max_poll_interval: Input should be greater than 0"),
        ({"replication_factor": "0"}, "kafka.replication_factor: a number of replicas, or -1"),
        ({"instance_id": "a b"}, "kafka.instance_id: String should match pattern"),
        ({"compression": WORD}, "kafka.compression: Input should be 'none', 'gzip'"),
    ],
)
def test_a_wrong_setting_is_named_without_its_value(kafka, settings, message):
    with pytest.raises(SettingsError, match=message) as caught:
        kafka(**settings)
    assert WORD not in str(caught.value)
    assert caught.value.__cause__ is None, "what pydantic says has the values in it"


def test_a_section_cannot_be_one_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("HEADRACE_KAFKA", WORD)
    with pytest.raises(SettingsError, match="HEADRACE_KAFKA__KEY=") as caught:
        read_settings(tmp_path)
    assert WORD not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("HEADRACE_BROKR", "HEADRACE_BROKER"),
        ("headrace_brokr", "HEADRACE_BROKER"),
        ("HEADRACE_KAFKA_SASL_PASSWORD", "HEADRACE_KAFKA__SASL_PASSWORD"),
        ("HEADRACE_FUNCTIONS_ACCEPT_TIMEOUT", "HEADRACE_FUNCTIONS__…"),
        ("HEADRACE_DEFAULT__TIMEOUT", "HEADRACE_DEFAULTS__TIMEOUT"),
        ("HEADRACE_APP__NAME", "HEADRACE_APP"),
    ],
)
def test_a_variable_that_is_no_setting_is_refused_with_the_one_that_was_meant(monkeypatch, tmp_path, name, meant):
    monkeypatch.setenv(name, WORD)
    with pytest.raises(SettingsError, match=f"variable {name} is no setting; did you mean {meant}\\?") as caught:
        read_settings(tmp_path)
    assert WORD not in str(caught.value)


def test_a_variable_like_no_other_is_to_be_unset(monkeypatch, tmp_path):
    monkeypatch.setenv("HEADRACE_XYZZY", WORD)
    with pytest.raises(SettingsError, match="HEADRACE_XYZZY is no setting; unset it"):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "headrace_drain",
        "HEADRACE_FUNCTIONS__ACCEPT__TIMEOUT",
        "HEADRACE_TEST_KAFKA",
        "HEADRACE_REQUIRE_KAFKA",
        "HEADRACE_BENCH_PAGE",
        "HEADRACE_SOAK",
        "HEADRACE_SERVICE_HOST",
        "HEADRACE_WEB_SERVICE_PORT_HTTP",
        "HEADRACE_PORT",
        "HEADRACE_PORT_80_TCP_ADDR",
        "_HEADRACE_COMPLETE",
    ],
)
def test_settings_and_what_others_need_by_that_prefix_are_taken(monkeypatch, tmp_path, name):
    monkeypatch.setenv(name, "1")
    read_settings(tmp_path)


def test_an_unknown_variable_that_is_empty_is_not_set(monkeypatch, tmp_path):
    monkeypatch.setenv("HEADRACE_BROKR", "")
    read_settings(tmp_path)


def test_settings_do_not_show_secrets(kafka):
    section = kafka(sasl_password=WORD, ssl_key_password=WORD, sasl_token_command=f"get --secret {WORD}")
    settings = Settings(kafka=section)
    assert WORD not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[]", "is no span of time"),
        ("{a = 1}", "is no span of time"),
        (f'"{"9" * 20}d"', "is too much: write less"),
    ],
)
def test_a_quantity_of_another_kind_is_refused(tmp_path, value, message):
    (tmp_path / "headrace.toml").write_text(f"topics.orders.retention = {value}\n")
    with pytest.raises(SettingsError, match=f"topics.orders.retention: .* {message}"):
        read_settings(tmp_path)


def test_a_file_of_settings_that_would_be_passed_over_is_refused(tmp_path):
    (tmp_path / "headrace.toml").mkdir()
    with pytest.raises(SettingsError, match=r"headrace\.toml is no file: make it a TOML file"):
        read_settings(tmp_path)
    (tmp_path / "headrace.toml").rmdir()
    (tmp_path / "pyproject.toml").symlink_to("nowhere")
    with pytest.raises(SettingsError, match=r"pyproject\.toml is a link that leads nowhere"):
        read_settings(tmp_path)


@pytest.mark.parametrize("text", ["tool = 3", "[tool]\nheadrace = 3", "[[tool.headrace]]"])
def test_a_section_that_is_no_table_is_refused(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"is no table: write \[tool\.headrace\]"):
        read_settings(tmp_path)


def test_a_file_of_settings_without_end_of_brackets_is_refused(tmp_path):
    (tmp_path / "headrace.toml").write_text(f"app = {'[' * 20_000}")
    with pytest.raises(SettingsError, match="is not valid TOML"):
        read_settings(tmp_path)


def test_an_app_is_called_after_its_folder_where_the_project_is_none(tmp_path):
    (tmp_path / "pyproject.toml").write_text("project = 3\n")
    assert app_of(read_settings(tmp_path), tmp_path / "shop") == "shop"
