//! include/hypeman.h is what cbindgen makes of the sources, and says what core says.

use std::collections::BTreeSet;
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

/// The functions of the header: what is said of each, and its declaration, on one line each.
fn functions(header: &str) -> Vec<(String, String)> {
    let (_, declared) = header.split_once("extern \"C\" {").expect("the functions are C's");
    let plain = |text: &str| {
        let words = text.lines().map(|line| line.trim().trim_start_matches('*').trim());
        words.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
    };
    declared
        .split("/**")
        .skip(1)
        .filter_map(|part| part.split_once("*/"))
        .filter_map(|(said, code)| Some((plain(said), plain(code.split_once(';')?.0))))
        .collect()
}

/// What a reader in C must be told of such a function and is not; nothing where all is well.
fn unsaid(said: &str, declaration: &str) -> Vec<&'static str> {
    let (result, _) = declared_as(declaration);
    let hands_out = declaration.contains(" **out");
    let rules = [
        ("what it does, in a sentence", said.len() > 10 && said.contains('.')),
        (
            "its errors",
            !declaration.contains("hypeman_error **err")
                || said.contains("rrors")
                || said.contains("INTERNAL"),
        ),
        (
            "what out is and how it is freed",
            !hands_out || said.contains("out:") && (said.contains("_free") || said.contains("hypeman_close")),
        ),
        ("whom the text belongs to", result != "char *" || said.contains("hypeman_string_free")),
        (
            "whom what it returns belongs to",
            !(result.starts_with("const ") && result.ends_with('*'))
                || said.contains("orrowed")
                || said.contains("Static"),
        ),
        (
            "what NULL does",
            !declaration.contains("_free(")
                || said.contains("NULL is fine")
                || said.contains("no one may use it"),
        ),
        (
            "the unit",
            !["uint64_t", "double"].contains(&result)
                || ["bytes", "milliseconds", "how often", "how many"].iter().any(|unit| said.contains(unit)),
        ),
    ];
    rules.into_iter().filter(|(_, is_said)| !is_said).map(|(what, _)| what).collect()
}

/// The type of the result, and the name, of a declaration.
fn declared_as(declaration: &str) -> (&str, &str) {
    let (head, _) = declaration.split_once('(').expect("a function");
    let at = head.rfind([' ', '*']).expect("a type before its name") + 1;
    (head[..at].trim(), &head[at..])
}

#[test]
fn every_function_says_what_a_reader_in_c_must_know() {
    let header = made();
    let functions = functions(&header);
    let listed = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("symbols.txt")).unwrap();
    let mut names: Vec<_> = functions.iter().map(|(_, declaration)| declared_as(declaration).1).collect();
    names.sort_unstable();
    assert_eq!(names, listed.lines().collect::<Vec<_>>());
    let silent: Vec<_> = functions
        .iter()
        .map(|(said, declaration)| (declared_as(declaration).1, unsaid(said, declaration)))
        .filter(|(_, unsaid)| !unsaid.is_empty())
        .collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn every_object_says_which_threads_may_use_it() {
    let header = made();
    let objects: Vec<_> = header
        .split("/**")
        .filter_map(|part| part.split_once("*/"))
        .filter(|(_, code)| {
            let declaration = code.trim_start().lines().next().unwrap_or_default();
            declaration.starts_with("typedef struct hypeman_") && declaration.ends_with(';')
        })
        .collect();
    assert!(objects.len() > 10, "{objects:?}");
    for (said, code) in objects {
        assert!(said.contains("thread"), "{}: which threads may use it?", code.trim());
    }
}

#[test]
fn what_is_not_said_is_noticed() {
    let create = "hypeman_status hypeman_x_new(struct hypeman_x **out, struct hypeman_error **err)";
    assert_eq!(unsaid("Makes one of these.", create), ["its errors", "what out is and how it is freed"]);
    assert_eq!(
        unsaid("Returns the name of it.", "const char *hypeman_x_name(void)"),
        ["whom what it returns belongs to"]
    );
    assert_eq!(unsaid("Returns how large it is.", "uint64_t hypeman_x_size(void)"), ["the unit"]);
    assert_eq!(unsaid("Frees one of these.", "void hypeman_x_free(struct hypeman_x *x)"), ["what NULL does"]);
}

/// What C++ has in another form (the kind as an enumeration, metrics as a struct), or has no use for.
const NOT_FOR_CPP: [&str; 4] =
    ["hypeman_selftest_panic", "hypeman_metrics_to_json", "kind_name", "struct_size"];

#[test]
fn everything_of_the_c_api_is_in_the_cpp_header() {
    let header = made();
    let cpp = cpp();
    let words: BTreeSet<_> = cpp.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let is_missing = |name: &&str| !words.contains(name) && !NOT_FOR_CPP.contains(name);
    let functions = functions(&header);
    let functions = functions.iter().map(|(_, declaration)| declared_as(declaration).1);
    let fields = header.split("typedef struct ").skip(1).filter_map(|part| part.split_once("\n}"));
    let fields = fields.filter_map(|(written, _)| written.split_once(" {\n"));
    let fields = fields.flat_map(|(_, fields)| names(fields)).filter(|name| *name != "reserved");
    let of_an_enumeration = ["HYPEMAN_KIND_", "HYPEMAN_PHASE_", "HYPEMAN_EXTENT_KIND_", "HYPEMAN_LOG_LEVEL_"];
    let constants = header.lines().filter_map(|line| line.trim().split_once(" = ")).map(|(name, _)| name);
    let constants = constants.filter(|name| of_an_enumeration.iter().any(|family| name.starts_with(family)));
    let missing: Vec<_> = functions.chain(fields).chain(constants).filter(is_missing).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// hypeman.hpp and the parts of it.
fn cpp() -> String {
    let parts = std::fs::read_dir(path().with_extension("")).unwrap().map(|part| part.unwrap().path());
    parts.chain([path().with_extension("hpp")]).map(|part| std::fs::read_to_string(part).unwrap()).collect()
}

/// The names of the fields of a struct: each is declared behind what is said of it.
fn names(fields: &str) -> impl Iterator<Item = &str> {
    let declarations = fields.split("*/").skip(1).filter_map(|rest| rest.split_once(';'));
    declarations.filter_map(|(declaration, _)| declaration.rsplit([' ', '*']).next())
}
