//! What may lie behind a socket that is registered as QEMU's.

use std::io::Write;
use std::os::unix::net::UnixListener;

use super::*;
use crate::error::{Error, Kind};

/// How a connect ends when the server sends `bytes` to its first client and then keeps silent, or hangs up.
fn connect_to(bytes: &'static [u8], hangs_up: bool) -> Error {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(bytes).unwrap();
        (!hangs_up).then_some(stream)
    });
    let error = Qemu::connect(&path, &Limit::default()).unwrap_err();
    drop(server.join().unwrap());
    assert_eq!(error.path(), Some(path.as_path()));
    error
}

#[test]
fn a_socket_that_serves_another_client_is_busy_and_the_advice_is_a_second_one() {
    let error = connect_to(b"", false);
    assert_eq!(error.kind(), Kind::Busy);
    assert!(error.message().contains("second -qmp socket"), "{error}");
}

#[test]
fn the_wait_for_a_greeting_can_be_cancelled() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let cancel = Cancel::new();
    let from_server = cancel.clone();
    let server = std::thread::spawn(move || {
        let client = listener.accept().unwrap();
        from_server.cancel();
        client
    });
    let error = Qemu::connect(&path, Call::default().cancel(&cancel).limit()).unwrap_err();
    assert_eq!(error.kind(), Kind::Cancelled);
    server.join().unwrap();
}

#[test]
fn a_server_that_is_no_qmp_is_told_from_one_that_is_busy() {
    for bytes in
        [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"{\"hello\": 1}\n", b"[]\n", b"{\"return\": {}, \"id\": 1}\n"]
    {
        assert_eq!(connect_to(bytes, false).kind(), Kind::Hypervisor);
    }
    assert_eq!(connect_to(b"", true).kind(), Kind::Hypervisor);
    assert_eq!(connect_to(b"{\"QMP\": {\"ver", true).kind(), Kind::Hypervisor);
}

#[test]
fn deep_json_is_garbage_and_breaks_no_stack() {
    static DEEP: [u8; 100_001] = {
        let mut bytes = [b'['; 100_001];
        bytes[100_000] = b'\n';
        bytes
    };
    assert_eq!(connect_to(&DEEP, false).kind(), Kind::Hypervisor);
}

#[test]
fn a_socket_without_a_listener_means_that_the_vm_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("s");
    assert_eq!(Qemu::connect(&path, &Limit::default()).unwrap_err().kind(), Kind::InvalidState);
    drop(UnixListener::bind(&path).unwrap());
    let error = Qemu::connect(&path, &Limit::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidState);
    assert!(error.message().contains("no QEMU listens at"), "{error}");
}
