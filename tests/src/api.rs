//! The test's own word with a VMM that serves HTTP over a unix socket: a second opinion beside the library's.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

/// One request over a connection of its own, which must succeed; `Null` where the answer has no body.
pub fn ask(socket: &Path, method: &str, target: &str, body: Option<&Value>) -> Value {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(stream, "{method} {target} HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let head = String::from_utf8(answer).expect("a head is text");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length is a number"))];
    stream.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).expect("an answer is text");
    assert!(head.starts_with("HTTP/1.1 20"), "{method} {target}: {head}{body}");
    if body.is_empty() { Value::Null } else { serde_json::from_str(&body).expect("an answer is JSON") }
}
