"""Who may ask: tokens, hosts, origins; and what a browser may do with what it gets."""

from __future__ import annotations

import socket
from typing import Any

import openai
import pytest

from t2icli.testing import Runner

SECRET = "a long secret"


def test_a_token_is_asked_for(serve: Any) -> None:
    server = serve(token=SECRET)
    for key in ("wrong", SECRET[:-1], SECRET + "x"):
        with pytest.raises(openai.AuthenticationError) as raised:
            server.client(api_key=key).models.list()
        assert raised.value.code == "invalid_api_key"
    assert server.client(api_key=SECRET).models.list().data
    assert server.get("/v1/models", headers={"authorization": "Bearer 秘密".encode()}).status_code == 401
    for path in ("/v1/models", "/v1/history", "/metrics", "/openapi.json", "/pictures/a/000.png", "/nothing"):
        assert server.get(path).status_code == 401, path
    for path in ("/", "/healthz", "/page/app.js"):
        assert server.get(path).status_code == 200, path


def test_the_page_exchanges_the_token_for_a_cookie(serve: Any) -> None:
    server = serve(token=SECRET)
    assert server.post("/session", json={"token": "wrong"}).status_code == 401
    answer = server.post("/session", json={"token": SECRET})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and SECRET not in cookie
    assert server.get("/v1/models", headers={"cookie": cookie.partition(";")[0]}).status_code == 200
    assert server.get("/v1/models", headers={"cookie": "t2i_session=x"}).status_code == 401


def test_names_of_others_are_refused(serve: Any) -> None:
    server = serve(hosts=["Pictures.example"])
    for host in ("evil.example", "localhost.evil.example", "", "[::1"):
        answer = server.get("/healthz", headers={"host": host})
        assert answer.status_code in (400, 403), host
    for host in ("localhost", "127.0.0.1:8000", "[::1]:80", "192.168.1.5", "pictures.example"):
        assert server.get("/healthz", headers={"host": host}).status_code == 200, host


def test_pages_of_other_sites_are_refused(serve: Any) -> None:
    server = serve()
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    ):
        answer = server.post("/v1/images/generations", json={"prompt": "a"}, headers=headers)
        assert answer.status_code == 403 and answer.json()["error"]["type"] == "permission_error", headers
    assert server.get("/healthz", headers={"origin": server.url}).status_code == 200


def test_every_answer_tells_the_browser_to_load_nothing_from_elsewhere(serve: Any) -> None:
    server = serve()
    for path in ("/", "/v1/models", "/nothing"):
        policy = server.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe-inline" not in policy and "frame-ancestors 'none'" in policy
    assert server.get("/").headers["x-content-type-options"] == "nosniff"


def test_other_machines_need_a_token(t2i: Runner) -> None:
    import t2i_serve

    t2i.use(t2i_serve)
    t2i.fails("serve", "--host", "0.0.0.0", says="there is no --token")
    t2i.fails("serve", "--host", "192.168.1.5", says="T2I_SERVE_TOKEN")
    t2i.fails("serve", "--token", " ", says="the token is empty")


def test_flags_that_are_wrong_are_named(t2i: Runner) -> None:
    import t2i_serve

    t2i.use(t2i_serve)
    t2i.fails("serve", "--memory", "lots", says="'lots' is not an amount of memory")
    t2i.fails("serve", "-m", "nobody", says="no generator called 'nobody'")
    t2i.fails("serve", says="no model for it")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        from t2icli.testing import toys

        t2i.use(t2i_serve, toys)
        t2i.fails("serve", "--port", taken.getsockname()[1], code=1, says="cannot listen on 127.0.0.1")
