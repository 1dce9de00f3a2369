"""A server behind a proxy that speaks TLS, with a certificate that only an authority of one's own has signed."""

from __future__ import annotations

import os
import pathlib
import ssl
import subprocess
from collections.abc import Iterator

import pytest
import trustme
from control_plane import ControlPlaneClient
from control_plane.errors import NotReadyError, SettingsError
from control_plane.registries.registry_manager import RegistryManager

from between import Between, between
from conftest import Log, Server

VARIABLE = "CONTROL_PLANE_CA_FILE"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def file(authority: trustme.CA, tmp_path: pathlib.Path) -> str:
    made = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(made))
    return str(made)


@pytest.fixture
def proxy(server: Server, authority: trustme.CA) -> Iterator[Between]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with between(server, context) as made:
        yield made


def asks(proxy: Between, ca_file: str | None = None) -> ControlPlaneClient:
    return ControlPlaneClient(proxy.url, token="cp_any", environment="production", ca_file=ca_file)


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_a_server_is_followed_whose_certificate_an_authority_of_ones_own_has_signed(
    how: str, server: Server, proxy: Between, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "variable":
        monkeypatch.setenv(VARIABLE, file)
    client = asks(proxy, file if how == "argument" else None)
    client.wait_ready(60)
    assert client.is_enabled("enhanced_reasoning", tenant_id="tenant123")
    assert client.status()[0]["source"] == "live"
    # What is asked of a server each time goes the same way.
    assert [tool.name for tool in RegistryManager(client).search("crm")]
    client.close()


def unreachable(client: ControlPlaneClient, log: Log) -> str:
    """Why a client gets nothing, as the log says it and as the exception does."""
    with pytest.raises(NotReadyError):
        client.wait_ready(0)
    logged = log.wait_for("SERVER_UNREACHABLE").getMessage()
    with pytest.raises(NotReadyError) as raised:
        client.wait_ready(0)
    assert raised.value.code == "SERVER_UNREACHABLE"
    assert raised.value.message in logged
    client.close()
    return raised.value.message


def test_a_server_whose_certificate_nobody_vouches_for_is_not_asked(proxy: Between, log: Log) -> None:
    said = unreachable(asks(proxy), log)
    assert "signed by no authority that is trusted here" in said and VARIABLE in said
    assert proxy.seen == [], "not even the token was sent"


def test_a_certificate_for_another_name_is_not_accepted(
    server: Server, authority: trustme.CA, file: str, log: Log
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("elsewhere.example").configure_cert(context)
    with between(server, context) as proxy:
        assert "elsewhere.example" in unreachable(asks(proxy, file), log)


def test_a_file_that_names_no_authority_is_refused_at_once(tmp_path: pathlib.Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for named, said in ((empty, "holds no certificate"), (tmp_path / "none.pem", "cannot be read")):
        with pytest.raises(SettingsError) as raised:
            ControlPlaneClient("https://127.0.0.1:1", environment="production", ca_file=str(named))
        assert raised.value.code == "SDK_SETTINGS_INVALID"
        assert VARIABLE in raised.value.message and str(named) in raised.value.message
        assert said in raised.value.message


def test_the_command_line_takes_the_same_variable(server: Server, proxy: Between, file: str) -> None:
    def run(**more: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "CONTROL_PLANE_URL": proxy.url, "CONTROL_PLANE_TOKEN": server.token, **more}
        command = [server.binary, "flag", "list"]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)

    good = run(**{VARIABLE: file})
    assert good.returncode == 0 and "enhanced_reasoning" in good.stdout, good.stderr
    refused = run()
    assert refused.returncode != 0 and VARIABLE in refused.stderr
