//! include/hypeman.h is what cbindgen makes of the sources, and says what core says.

use std::path::Path;

use hypeman_core::Kind;

fn kept() -> String {
    std::fs::read_to_string(path()).unwrap_or_default()
}

fn path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../include/hypeman.h")
}

fn made() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = cbindgen::Config::from_root_or_default(root);
    let versions = format!(
        "\n/* The version of this header; hypeman_version() is that of the library which runs. */\n\
         #define HYPEMAN_VERSION \"{}\"\n\
         #define HYPEMAN_VERSION_MAJOR {}\n\
         #define HYPEMAN_VERSION_MINOR {}\n\
         #define HYPEMAN_VERSION_PATCH {}",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
        env!("CARGO_PKG_VERSION_PATCH"),
    );
    config.after_includes.get_or_insert_default().insert_str(0, &versions);
    let mut header = Vec::new();
    cbindgen::generate_with_config(root, config).expect("cbindgen reads the sources").write(&mut header);
    String::from_utf8(header).unwrap()
}

#[test]
fn the_committed_header_is_what_the_sources_say() {
    let made = made();
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(path(), &made).unwrap();
    }
    assert!(
        kept() == made,
        "include/hypeman.h is stale: run UPDATE_HEADER=1 cargo test -p hypeman-ffi --test header"
    );
}

#[test]
fn the_statuses_of_the_header_are_the_rows_of_cores_table() {
    let header = made();
    let found: Vec<_> =
        header.lines().filter_map(|line| line.trim().strip_prefix("HYPEMAN_STATUS_")).collect();
    let row = |code: &str, number: i32| format!("{} = {number},", code.to_uppercase());
    let table = Kind::ALL.into_iter().map(|kind| row(kind.fact().code, kind.fact().number));
    assert_eq!(found, std::iter::once(row("ok", 0)).chain(table).collect::<Vec<_>>());
}
