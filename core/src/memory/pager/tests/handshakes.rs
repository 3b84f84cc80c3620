//! Who may come, and with what: nothing that anyone sends harms the pager or those that it serves.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn what_is_not_firecrackers_handshake_is_refused_and_the_next_vm_is_served() {
    let name = "what_is_not_firecrackers_handshake_is_refused_and_the_next_vm_is_served";
    let memory = guest_memory(MIB);
    let Some(guest) = guest(MIB, name) else { return };
    let scene = Scene::of(&memory, &ServeMemory::default());
    let good = mappings(&guest, PAGE);
    let mut refused = 0;
    let mut is_refused = |why: &str, stream: UnixStream| {
        refused += 1;
        scene.until(why, |now| now.errors == refused);
        let said = scene.pager.metrics().last_error.unwrap();
        assert!(said.contains(why), "{why}: {said}");
        drop(stream);
    };
    is_refused("no descriptor", scene.say(&good, None));
    is_refused("not Firecracker's", scene.say("hello", Some(&guest)));
    is_refused("not Firecracker's", scene.say(r#"{"base_host_virt_addr":1}"#, Some(&guest)));
    is_refused("not Firecracker's", scene.say(r#"[{"size":-1}]"#, Some(&guest)));
    is_refused("0 regions", scene.say("[]", Some(&guest)));
    let too_long = good.replace(&MIB.to_string(), &(MIB + PAGE).to_string());
    is_refused("not the VM of this snapshot", scene.say(&too_long, Some(&guest)));
    let endless = format!("[{}", " ".repeat(70_000));
    let stream = socket::connect(&scene.socket).unwrap();
    let mut sent = 0;
    while let Ok(more @ 1..) = socket::send(&stream, &endless.as_bytes()[sent..], &[]) {
        sent += more;
    }
    is_refused("too long", stream);
    let stream = scene.say(&good[..10], Some(&guest));
    socket::send(&stream, &good.as_bytes()[10..], &[guest.uffd.as_fd()]).unwrap();
    is_refused("more than one descriptor", stream);
    let stream = socket::connect(&scene.socket).unwrap();
    socket::send(&stream, b"[", &[guest.uffd.as_fd(); 3]).unwrap();
    is_refused("too many descriptors", stream);
    let (reader, _writer) = std::io::pipe().unwrap();
    let stream = socket::connect(&scene.socket).unwrap();
    socket::send(&stream, good.as_bytes(), &[reader.as_fd()]).unwrap();
    is_refused("no userfaultfd", stream);
    let follower = Guest::new(MIB, false, 1 << 2).unwrap();
    is_refused("follows forks", scene.say(&mappings(&follower, PAGE), Some(&follower)));
    let stream = socket::connect(&scene.socket).unwrap();
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    is_refused("hung up", stream);

    // In two parts, then chatter.
    let mut vm = scene.say(&good[..10], Some(&guest));
    vm.write_all(&good.as_bytes()[10..]).unwrap();
    scene.until("it came", |now| now.vms == 1);
    vm.write_all(&[b'x'; 9000]).unwrap();
    reads_as(&guest, &memory, "after hostile ones");
    assert_eq!(scene.pager.metrics().vms_seen, 1);
}

#[test]
fn a_vm_that_says_nothing_keeps_no_one_waiting() {
    let Some(guest) = guest(MIB, "a_vm_that_says_nothing_keeps_no_one_waiting") else { return };
    let memory = guest_memory(MIB);
    let scene = Scene::of(&memory, &ServeMemory::default());
    let _silent: Vec<_> = (0..5).map(|_| socket::connect(&scene.socket).unwrap()).collect();
    let _vm = scene.connect(&guest);
    reads_as(&guest, &memory, "beside silent ones");
    let before = Instant::now();
    scene.pager.stop();
    assert!(before.elapsed() < Duration::from_secs(4), "a stop does not wait for their patience to end");
}

#[test]
fn the_socket_is_for_its_user_alone_and_cpus_are_checked() {
    let memory = guest_memory(PAGE);
    let scene = Scene::of(&memory, &ServeMemory::default());
    assert_eq!(scene.socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let elsewhere = scene.socket.with_file_name("other.sock");
    let nowhere = ServeMemory { cpus: vec![900], ..ServeMemory::default() };
    let listener = socket::listen_at(&elsewhere).unwrap();
    let refused = Pager::start(
        image(&memory, None),
        listener,
        &nowhere,
        None,
        Box::new(|_| true),
        Arc::new(Guarded::new(Box::new(drop))),
    )
    .err()
    .unwrap();
    assert_eq!(refused.kind(), Kind::InvalidRequest);
}
