"""Requests are written and the plainest answers read without h11, and as h11 would write and read them."""

from contextlib import suppress

import h11
import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from net.transport import PlainAnswer, head_of

HEADER = st.sampled_from(
    [
        b"Content-Type: application/json",
        b"Content-Length: 5",
        b"content-length:5 ",
        b"Content-Length: 0",
        b"Content-Length: 5, 5",
        b"Content-Length: -1",
        b"Content-Length: 0x5",
        b"Content-Length : 5",
        b"Transfer-Encoding: chunked",
        b"Connection: keep-alive",
        b"Connection: close",
        b"Connection: Upgrade",
        b"Upgrade: h2c",
        b"X-Empty:",
        b"X-Blanks: \t a  b \t",
        b"X-Latin: caf\xe9",
        b"X-Zero: a\0b",
        b"X Space: a",
        b" folded",
        b"Server: nginx\r",
        b": nameless",
    ]
)
STATUS = st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 201 Created", b"HTTP/1.1 204 No Content"),
        *(b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 404 No est\xe1", b"HTTP/1.1 503 Service Unavailable"),
        *(b"HTTP/1.0 200 OK", b"HTTP/2 200 OK", b"HTTP/1.1 100 Continue", b"HTTP/1.1 101 Upgrade", b"HTTP/1.1  200 OK"),
    ]
)  # fmt: skip


@given(
    STATUS,
    st.lists(HEADER, max_size=5),
    st.sampled_from([b"\r\n", b"\n"]),
    st.sampled_from([b"", b"{}", b"12345", b"123456789", b"5\r\n12345\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\n"]),
)
def test_an_answer_that_is_read_without_h11_is_what_h11_would_read(status, headers, newline, body):
    """Status, headers and body; and h11 leaves over what we leave over."""
    piece = newline.join([status, *headers, b"", body])
    plain = PlainAnswer.of(piece)
    if plain is None:
        return
    protocol = h11.Connection(h11.CLIENT)
    protocol.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    protocol.send(h11.EndOfMessage())
    protocol.receive_data(piece)
    event = protocol.next_event()
    assert isinstance(event, h11.Response)
    assert (event.status_code, event.headers.raw_items()) == (plain.status, plain.headers)
    read = b""
    while isinstance(event := protocol.next_event(), h11.Data):
        read += bytes(event.data)
    assert read == plain.body[: plain.missing]
    assert (event is h11.NEED_DATA) == (len(plain.body) < plain.missing)
    assert protocol.trailing_data[0] == plain.body[plain.missing :]


def test_the_usual_answer_is_read_without_h11():
    """Else nothing would be gained, and the test above would compare nothing."""
    plain = PlainAnswer.of(
        b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}"
    )

    assert plain is not None
    assert (plain.status, plain.body, plain.missing) == (200, b"{}", 2)


NAMES = st.sampled_from(
    ["Authorization", "X-Trace", "x-latin", "Content-Type", "X Space", "X:Colon", "X\r\nInjected", "", "Host"]
)
VALUES = st.one_of(
    st.sampled_from(
        ["Bearer abc", "", "a\r\nX-Injected: yes", "a\nb", "a\rb", "a\0b", "caf\xe9", "a\tb", "\x7f"]
    ),
    st.text("aé€: \t\r\n\0\x7f", max_size=8),
)


@given(
    st.sampled_from(["GET", "POST", "DELETE"]),
    st.sampled_from(["http://a.example/x", "http://a.example:8080/ñ b?c=\u20ac#d", "https://a.example"]),
    st.dictionaries(NAMES, VALUES, max_size=3),
    st.sampled_from([None, b"", b"{}", b"\r\n\r\nGET / HTTP/1.1\r\n"]),
)
@example("GET", "http://a.example/", {"X-Trace": "a\r\nX-Injected: yes"}, None)
@example("POST", "http://a.example/", {"X\r\nInjected": "yes"}, b"{}")
def test_a_request_says_to_h11_what_it_says_to_us(method, url, headers, content):
    """Method, address, headers and body are read from it as they were given; what would not be is not written."""
    with suppress(UnicodeEncodeError):
        request = httpx.Request(method, url, headers=headers, content=content)
        body = content or b""
        try:
            written = head_of(request, len(body)) + body
        except httpx.LocalProtocolError:
            is_control = any(not each.isprintable() for each in "".join([*headers, *headers.values()]))
            assert is_control or {"", "X Space", "X:Colon"} & set(headers)
            return
        server = h11.Connection(h11.SERVER)
        server.receive_data(written)
        event = server.next_event()
        assert isinstance(event, h11.Request)
        assert (event.method, event.target) == (method.encode(), request.url.raw_path)
        given = [(name.lower(), value.strip(b" \t")) for name, value in request.headers.raw]
        assert list(event.headers) == given
        came = b""
        while isinstance(event := server.next_event(), h11.Data):
            came += bytes(event.data)
        assert isinstance(event, h11.EndOfMessage)
        assert came == body
        assert server.trailing_data[0] == b""


def test_a_request_whose_length_is_is_not_in_its_head_is_not_written():
    """Its body would be taken for the next request on the connection."""
    chunked = httpx.Request("POST", "http://a.example/", content=iter([b"a"]))
    wrong = httpx.Request("POST", "http://a.example/", headers={"Content-Length": "1"}, content=b"ab")

    for request in (chunked, wrong):
        with pytest.raises(httpx.LocalProtocolError):
            head_of(request, 2)
