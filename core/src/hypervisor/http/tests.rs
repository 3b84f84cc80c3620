//! The client against servers that say one thing and mean it.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;

use tempfile::TempDir;

use super::*;
use crate::call::{Call, Cancel};

/// A server that plays each script to one connection, in order. Ends with this value.
struct Server {
    root: TempDir,
    thread: Option<JoinHandle<()>>,
}

type Script = Box<dyn FnOnce(&mut UnixStream) + Send>;

impl Server {
    fn start(scripts: Vec<Script>) -> (Self, Client) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("api");
        let listener = UnixListener::bind(&path).unwrap();
        let thread = thread::spawn(move || {
            // The first connection only looks who listens.
            drop(listener.accept().unwrap());
            for script in scripts {
                script(&mut listener.accept().unwrap().0);
            }
        });
        let client = Client::connect("vmm", &path, Duration::from_secs(20), &Limit::default()).unwrap();
        (Self { root, thread: Some(thread) }, client)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the scripted server met a defect");
    }
}

/// Reads a request whole and answers with `parts`, a packet each.
fn answering(parts: Vec<Vec<u8>>) -> Script {
    Box::new(move |stream| {
        read_request(stream);
        for part in parts {
            // A client that has heard enough may be gone.
            if stream.write_all(&part).is_err() {
                return;
            }
            thread::yield_now();
        }
    })
}

fn read_request(stream: &mut UnixStream) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    let head = String::from_utf8(request).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

fn ask(parts: Vec<Vec<u8>>) -> Result<Answer> {
    let (_server, client) = Server::start(vec![answering(parts)]);
    client.request("GET", "/x", None, &Limit::default())
}

fn assert_answer(answer: Result<Answer>, status: u16, body: &[u8]) {
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (status, body));
}

#[test]
fn a_body_is_sent_with_its_length_and_none_where_there_is_none() {
    let (told, heard) = std::sync::mpsc::channel();
    let script = |told: std::sync::mpsc::Sender<String>| -> Script {
        Box::new(move |stream| {
            told.send(read_request(stream)).unwrap();
            stream.write_all(b"HTTP/1.1 204 \r\nConnection: keep-alive\r\n\r\n").unwrap();
            // As the real ones: the connection stays open, and the answer is over all the same.
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        })
    };
    let (_server, client) = Server::start(vec![script(told.clone()), script(told)]);
    assert_answer(client.request("PUT", "/a", None, &Limit::default()), 204, b"");
    let request = heard.recv().unwrap();
    assert!(request.starts_with("PUT /a HTTP/1.1\r\n") && request.ends_with("Content-Length: 0\r\n\r\n"));
    let body = serde_json::json!({ "state": "Paused" });
    assert_answer(client.request("PATCH", "/vm", Some(&body), &Limit::default()), 204, b"");
    assert!(heard.recv().unwrap().ends_with("Content-Length: 18\r\n\r\n{\"state\":\"Paused\"}"));
}

#[test]
fn an_answer_is_the_same_in_however_many_packets_and_codings_it_comes() {
    let counted = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world";
    let chunked =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n\r\n";
    let closed = b"HTTP/1.1 200 OK\r\n\r\nhello world";
    let interim = b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 200 \r\ncontent-length: 11\r\n\r\nhello world";
    for whole in [&counted[..], chunked, closed, interim] {
        for at in 0..whole.len() {
            let (first, second) = whole.split_at(at);
            assert_answer(ask(vec![first.to_vec(), second.to_vec()]), 200, b"hello world");
        }
        assert_answer(ask(whole.iter().map(|&byte| vec![byte]).collect()), 200, b"hello world");
    }
}

#[test]
fn what_is_no_answer_or_no_end_of_one_is_a_fault_of_the_server() {
    let endless = |start: &str, more: &[u8], count: usize| {
        let mut parts = vec![start.as_bytes().to_vec()];
        parts.resize(count + 1, more.to_vec());
        parts
    };
    let part = |text: &str| vec![text.as_bytes().to_vec()];
    let chunked = "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n";
    for (story, parts, word) in [
        ("closed at once", vec![], "closed the connection"),
        ("closed in the head", part("HTTP/1.1 200 OK\r\nContent-"), "closed the connection"),
        ("closed in the body", part("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234"), "closed"),
        ("closed in a chunk", part(&format!("{chunked}9\r\n1234")), "closed the connection"),
        ("no HTTP", part("\u{1}\u{2} garbage\r\n\r\n"), "not HTTP"),
        ("no length", part("HTTP/1.1 200 \r\nContent-Length: x\r\n\r\n"), "no number"),
        ("a length without measure", part("HTTP/1.1 200 \r\nContent-Length: 99999999999\r\n\r\n"), "4 MiB"),
        ("a chunk without measure", part(&format!("{chunked}ffffffffffffffff\r\n")), "4 MiB"),
        ("no chunk", part(&format!("{chunked}zz\r\n")), "without a size"),
        ("an endless head", endless("HTTP/1.1 200 \r\n", &b"X: y\r\n".repeat(5), 4000), ""),
        ("an endless header", endless("HTTP/1.1 200 \r\nX: ", &[b'y'; 4096], 100), "without an end"),
        ("an endless body", endless("HTTP/1.1 200 \r\n\r\n", &[b'y'; 1 << 16], 100), "4 MiB"),
        ("an endless chunk size", endless(&format!("{chunked}1;"), &[b'y'; 4096], 100), "without a size"),
    ] {
        let error = ask(parts).expect_err(story);
        assert_eq!(error.kind(), Kind::Hypervisor, "{story}: {error}");
        assert!(error.message().contains(word), "{story}: {error}");
        assert!(error.path().is_some(), "{story}");
    }
}

#[test]
fn a_server_with_no_connection_to_spare_is_asked_again() {
    let full = || -> Script {
        Box::new(|stream| {
            // As micro_http: it hangs up on a request that it has not read.
            stream
                .write_all(b"HTTP/1.1 503\r\nServer: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
                .unwrap();
            stream.shutdown(Shutdown::Both).unwrap();
        })
    };
    let good = answering(vec![b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n".to_vec()]);
    let (_server, client) = Server::start(vec![full(), full(), good]);
    assert_answer(client.request("PUT", "/x", None, &Limit::default()), 200, b"");
}

#[test]
fn a_wait_ends_by_its_limit_by_the_patience_and_by_what_is_done_meanwhile() {
    let silent = || -> Script {
        Box::new(|stream| {
            read_request(stream);
            // Until the client goes.
            let _ = stream.read(&mut [0]);
        })
    };
    let (_server, mut client) = Server::start(vec![silent(), silent(), silent(), silent()]);
    let ask = |client: &Client, limit: &Limit, meanwhile: &mut dyn FnMut() -> Result<()>| {
        client.request_meanwhile("GET", "/x", None, limit, meanwhile).unwrap_err().kind()
    };
    let call = Call::default().timeout(Duration::from_millis(30));
    assert_eq!(ask(&client, call.limit(), &mut || Ok(())), Kind::Timeout);
    let mut looks = 0;
    let cancel = Cancel::new();
    let call = Call::default().cancel(&cancel);
    let mut look = || {
        looks += 1;
        if looks == 3 {
            cancel.cancel();
        }
        Ok(())
    };
    assert_eq!(ask(&client, call.limit(), &mut look), Kind::Cancelled);
    let mut fail = || Err(Error::new(Kind::NoSpace, "seen meanwhile"));
    assert_eq!(ask(&client, &Limit::default(), &mut fail), Kind::NoSpace);
    client.patience = Duration::from_millis(30);
    let error = client.request("GET", "/x", None, &Limit::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    assert!(error.message().contains("did not answer GET /x within 0 s"), "{error}");
}

#[test]
fn another_process_behind_the_socket_is_not_taken_for_the_first() {
    let (server, mut client) = Server::start(vec![Box::new(|_| ())]);
    client.peer.start_ticks += 1;
    let error = client.request("PUT", "/x", None, &Limit::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidState);
    assert!(error.message().contains("another one listens"), "{error}");
    drop(server);
}

#[test]
fn a_socket_without_a_server_says_that_the_vmm_is_gone() {
    let (server, client) = Server::start(vec![]);
    let path = client.path().to_owned();
    std::fs::rename(&path, server.root.path().join("moved")).unwrap();
    let error = client.request("GET", "/x", None, &Limit::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidState);
    let error = Client::connect("vmm", &path, Duration::ZERO, &Limit::default()).unwrap_err();
    assert!(error.message().starts_with("no vmm listens at "), "{error}");
}
