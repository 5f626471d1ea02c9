//! Heads from the standards' texts and from servers that are not ours.

use super::*;

/// RFC 9110, section 8.3.3's neighbour in RFC 7230 (2.1): the example of a response.
const EXAMPLE: &[u8] = b"HTTP/1.1 200 OK\r\nDate: Mon, 27 Jul 2009 12:28:53 GMT\r\nServer: Apache\r\n\
    Last-Modified: Wed, 22 Jul 2009 19:15:56 GMT\r\nETag: \"34aa387-d-1568eb00\"\r\nAccept-Ranges: bytes\r\n\
    Content-Length: 51\r\nVary: Accept-Encoding\r\nContent-Type: text/plain\r\n\r\nHello World!";

/// MS-SSTP 4.1: the server's answer to `SSTP_DUPLEX_POST`; its length is 2^64 - 1.
const SSTP: &[u8] = b"HTTP/1.1 200\r\nContent-Length: 18446744073709551615\r\n\
    Server: Microsoft-HTTPAPI/2.0\r\nDate: Thu, 09 Nov 2006 00:51:09 GMT\r\n\r\n";

#[test]
fn the_examples_of_the_standards() {
    let head = Head::decode(EXAMPLE).unwrap().unwrap();
    assert_eq!((head.status, head.reason.as_slice(), head.minor), (200, &b"OK"[..], 1));
    assert_eq!((head.text("server"), head.content_length()), (Some("Apache"), Some(51)));
    assert_eq!(EXAMPLE.get(head.length..), Some(&b"Hello World!"[..]));
    assert!(head.stays_open());
    let head = Head::decode(SSTP).unwrap().unwrap();
    assert_eq!((head.status, head.content_length()), (200, Some(u64::MAX)));
}

#[test]
fn every_proper_prefix_is_not_whole() {
    for whole in [EXAMPLE.get(..EXAMPLE.len() - 12).unwrap(), SSTP] {
        for length in 0..whole.len() {
            assert_eq!(Head::decode(whole.get(..length).unwrap()), Ok(None), "{length}");
        }
        assert!(Head::decode(whole).unwrap().is_some());
    }
}

#[test]
fn what_is_no_head_is_an_error() {
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.2p1\r\n"[..],
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 099 No\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n",
        b"\x16\x03\x01\x00\x05",
    ] {
        assert!(Head::decode(bytes).is_err(), "{bytes:?}");
    }
    let mut many = b"HTTP/1.1 200 OK\r\n".to_vec();
    many.extend(b"A: b\r\n".repeat(MAX_HEADERS + 1));
    assert_eq!(Head::decode(&many).unwrap_err().why, Why::TooMany);
    let mut endless = b"HTTP/1.1 200 OK\r\nA: ".to_vec();
    endless.resize(MAX_HEAD, b'x');
    assert_eq!(Head::decode(&endless).unwrap_err().why, Why::TooMany);
}

#[test]
fn bodies_end_where_the_head_says() {
    let length =
        |head: &str, body: &str| Head::decode(head.as_bytes()).unwrap().unwrap().body_length(body.as_bytes());
    assert_eq!(length("HTTP/1.1 204 x\r\n\r\n", ""), Ok(Some(0)));
    assert_eq!(length("HTTP/1.1 200 x\r\nContent-Length: 7\r\n\r\n", ""), Ok(Some(7)));
    assert_eq!(length("HTTP/1.1 200 x\r\n\r\n", "abc"), Ok(None));
    // RFC 9112 7.1's grammar, and the example of Wikipedia's readers: "Wiki" "pedia ", an extension.
    let chunked = "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = "4\r\nWiki\r\n6;a=b\r\npedia \r\n0\r\n\r\n";
    assert_eq!(length(chunked, &format!("{body}HTTP")), Ok(Some(body.len())));
    for cut in 0..body.len() {
        assert_eq!(length(chunked, &body[..cut]), Ok(None), "{cut}");
    }
    for bad in ["x\r\n", "4\r\nWikipedia\r\n", "ffffffffffffffff\r\n"] {
        assert!(length(chunked, bad).is_err(), "{bad}");
    }
}

#[test]
fn connections_that_end() {
    let stays = |text: &str| Head::decode(text.as_bytes()).unwrap().unwrap().stays_open();
    assert!(!stays("HTTP/1.1 200 OK\r\nConnection: Close\r\n\r\n"));
    assert!(!stays("HTTP/1.1 200 OK\r\nConnection: x, close\r\n\r\n"));
    assert!(!stays("HTTP/1.0 200 OK\r\n\r\n"));
    assert!(stays("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"));
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400), head: bool) {
        let mut all = if head { b"HTTP/1.1 200 OK\r\n".to_vec() } else { Vec::new() };
        all.extend(bytes);
        let _ = Head::decode(&all);
    }
}
