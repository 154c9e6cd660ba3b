"""The plainest answers are read without h11, and as h11 would read them."""

import h11
from hypothesis import given
from hypothesis import strategies as st

from net.transport import PlainAnswer

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
