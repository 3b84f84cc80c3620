//! Every line of the report: what is measured, and at most how much of the peer's figure ours should be.

mod cancel;
mod catalogue;
pub mod compress;
mod decompress;
mod fill;
mod language;
mod offload;
mod page;
mod pager;
pub mod sweep;

use compress::{LZ4_0, LZ4_9, ZSTD_1, ZSTD_1_MT, ZSTD_3, ZSTD_9};
use fill::Seconds;

use crate::Result;
use crate::images::{Content, Zeros};
use crate::samples::Samples;
use crate::scene::Scene;

/// A line.
pub struct Line {
    /// Its name, for `--only`.
    pub id: &'static str,
    /// What it is measured in.
    pub unit: &'static str,
    /// The target: ours / peer, or ours where there is no peer. Lines that only inform have none.
    pub at_most: Option<f64>,
    /// Measures it.
    pub measure: fn(&mut Scene) -> Result<Samples>,
}

const BUSY: (Content, Zeros) = (Content::Busy, Zeros::Written);
const IDLE: (Content, Zeros) = (Content::Idle, Zeros::Written);
const IDLE_SPARSE: (Content, Zeros) = (Content::Idle, Zeros::Holes);
const MIX: (Content, Zeros) = (Content::Mix, Zeros::Written);

const fn line(
    id: &'static str,
    unit: &'static str,
    at_most: Option<f64>,
    measure: fn(&mut Scene) -> Result<Samples>,
) -> Line {
    Line { id, unit, at_most, measure }
}

/// All lines; those on the same image one after the other.
pub const LINES: [Line; 62] = [
    line("compress-busy-zstd1-wall", "s", Some(0.42), |scene| compress::wall(scene, BUSY, ZSTD_1)),
    line("compress-busy-zstd1-cpu", "s", Some(0.70), |scene| compress::cpu(scene, BUSY, ZSTD_1)),
    line("compress-busy-zstd1-wall-mt", "s", Some(0.55), |scene| compress::wall(scene, BUSY, ZSTD_1_MT)),
    line("compress-busy-zstd1-verified-wall", "s", None, |scene| compress::verified(scene, BUSY, ZSTD_1)),
    line("compress-busy-zstd3-wall", "s", None, |scene| compress::wall(scene, BUSY, ZSTD_3)),
    line("compress-busy-zstd9-wall", "s", Some(0.48), |scene| compress::wall(scene, BUSY, ZSTD_9)),
    line("compress-busy-lz4-wall", "s", Some(0.38), |scene| compress::wall(scene, BUSY, LZ4_0)),
    line("compress-busy-lz4-cpu", "s", None, |scene| compress::cpu(scene, BUSY, LZ4_0)),
    line("compress-busy-lz4-verified-wall", "s", None, |scene| compress::verified(scene, BUSY, LZ4_0)),
    line("compress-busy-lz4-9-wall", "s", None, |scene| compress::wall(scene, BUSY, LZ4_9)),
    line("bare-compress-busy-zstd1-wall", "s", Some(0.42), |scene| compress::bare_wall(scene, BUSY, ZSTD_1)),
    line("bare-compress-busy-zstd1-cpu", "s", Some(0.70), |scene| compress::bare_cpu(scene, BUSY, ZSTD_1)),
    line("bare-compress-busy-zstd1-wall-mt", "s", Some(0.55), |scene| {
        compress::bare_wall(scene, BUSY, ZSTD_1_MT)
    }),
    line("bare-compress-busy-lz4-wall", "s", Some(0.38), |scene| compress::bare_wall(scene, BUSY, LZ4_0)),
    line("size-busy-zstd1", "B", Some(1.03), |scene| compress::size(scene, BUSY, ZSTD_1)),
    line("size-busy-lz4", "B", Some(1.02), |scene| compress::size(scene, BUSY, LZ4_0)),
    line("size-busy-zstd9", "B", Some(1.04), |scene| compress::size(scene, BUSY, ZSTD_9)),
    line("cancel-p99-ms", "ms", Some(5.0), cancel::cancel),
    line("close-p99-ms", "ms", None, cancel::close),
    line("first-page", "s", Some(0.0005), |scene| page::first_page(scene, ZSTD_1.0)),
    line("page-zstd1-p50", "us", Some(25.0), |scene| page::page(scene, ZSTD_1.0)),
    line("page-lz4-p50", "us", Some(15.0), |scene| page::page(scene, LZ4_0.0)),
    line("codec-page-zstd1-p50", "us", Some(25.0), |scene| page::codec_page(scene, ZSTD_1.0)),
    line("restore-pager-1g", "s", Some(0.1), pager::restore),
    line("fork-10", "s", Some(0.1), pager::forks),
    line("restore-prefetch", "s", Some(0.5), pager::prefetch),
    line("fault-zstd1-p50-us", "us", Some(50.0), |scene| pager::fault(scene, ZSTD_1.0)),
    line("fault-lz4-p50-us", "us", Some(30.0), |scene| pager::fault(scene, LZ4_0.0)),
    line("fault-zstd1-other-cpu-us", "us", None, |scene| pager::fault_elsewhere(scene, ZSTD_1.0)),
    line("fault-lz4-other-cpu-us", "us", None, |scene| pager::fault_elsewhere(scene, LZ4_0.0)),
    line("fault-second", "us", Some(1.1), pager::second),
    line("fault-during-fill-p99", "us", Some(3.0), pager::during_fill),
    line("fill-busy", "s", Some(0.60), |scene| fill::fill(scene, Content::Busy, Seconds::Wall)),
    line("fill-busy-cpu", "s", None, |scene| fill::fill(scene, Content::Busy, Seconds::Cpu)),
    line("bare-fill-busy", "s", Some(0.60), |scene| fill::bare_fill(scene, Content::Busy)),
    line("bare-decompress-busy-zstd1-vs-cp", "s", Some(0.58), |scene| {
        decompress::bare_against_cp(scene, ZSTD_1.0)
    }),
    line("decode-busy-zstd1-cpu", "s", None, |scene| decompress::decode_cpu(scene, ZSTD_1.0)),
    line("decode-busy-lz4-cpu", "s", None, |scene| decompress::decode_cpu(scene, LZ4_0.0)),
    line("decompress-busy-zstd1-vs-cp", "s", Some(0.58), |scene| decompress::against_cp(scene, ZSTD_1.0)),
    line("decompress-busy-zstd1-wall", "s", Some(0.58), |scene| decompress::against_tool(scene, ZSTD_1.0)),
    line("decompress-busy-lz4-wall", "s", Some(0.36), |scene| decompress::against_tool(scene, LZ4_0.0)),
    line("fill-idle", "s", Some(0.18), |scene| fill::fill(scene, Content::Idle, Seconds::Wall)),
    line("fill-idle-cpu", "s", None, |scene| fill::fill(scene, Content::Idle, Seconds::Cpu)),
    line("bare-fill-idle", "s", Some(0.18), |scene| fill::bare_fill(scene, Content::Idle)),
    line("restore-pager-4g-vs-256m", "s", Some(1.2), pager::sizes),
    line("compress-idle-zstd1-wall", "s", Some(0.35), |scene| compress::wall(scene, IDLE, ZSTD_1)),
    line("bare-compress-idle-zstd1-wall", "s", Some(0.35), |scene| compress::bare_wall(scene, IDLE, ZSTD_1)),
    line("compress-idle-sparse-zstd1-wall", "s", Some(0.22), |scene| {
        compress::wall(scene, IDLE_SPARSE, ZSTD_1)
    }),
    line("bare-compress-idle-sparse-zstd1-wall", "s", Some(0.22), |scene| {
        compress::bare_wall(scene, IDLE_SPARSE, ZSTD_1)
    }),
    line("compress-mix-zstd1-wall", "s", None, |scene| compress::wall(scene, MIX, ZSTD_1)),
    line("compress-mix-lz4-wall", "s", None, |scene| compress::wall(scene, MIX, LZ4_0)),
    line("size-mix-zstd1", "B", None, |scene| compress::size(scene, MIX, ZSTD_1)),
    line("offload-pause", "ms", None, offload::pause),
    line("offload-compress", "ms", None, offload::compress),
    line("list-10k", "s", Some(0.02), |scene| catalogue::list(scene, 10_000)),
    line("list-10k-first", "s", None, |scene| catalogue::first_list(scene, 10_000)),
    line("list-100k-first", "s", None, |scene| catalogue::first_list(scene, 100_000)),
    line("list-100k-filtered", "s", Some(0.001), |scene| catalogue::list_filtered(scene, 100_000)),
    line("get-100k", "us", Some(0.4), |scene| catalogue::get(scene, 100_000)),
    line("get-100k-first", "us", None, |scene| catalogue::first_get(scene, 100_000)),
    line("get-python-vs-http", "us", Some(0.05), language::python),
    line("get-node-vs-http", "us", Some(0.15), language::node),
];
