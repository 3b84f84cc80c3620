//! placeholder until the memory branch is merged
use crate::call::Limit;
use crate::error::Result;
use crate::types::*;
use std::fs::File;
use std::num::NonZeroUsize;
pub(crate) struct Compressed {
    pub raw_bytes: u64,
    pub compressed_bytes: u64,
}
pub(crate) fn compress(
    _raw: &File,
    _out: &File,
    _s: CompressionSettings,
    _t: NonZeroUsize,
    _l: &Limit,
    _p: &(dyn Fn(u64, u64) + Sync),
) -> Result<Compressed> {
    Err(crate::error::Error::new(crate::error::Kind::Internal, "x"))
}
pub(crate) fn verify(_c: &File, _a: Algorithm, _t: NonZeroUsize, _l: &Limit) -> Result<u64> {
    Ok(0)
}
pub(crate) fn decompress(
    _c: &File,
    _a: Algorithm,
    _o: &File,
    _m: u64,
    _t: NonZeroUsize,
    _l: &Limit,
    _p: &(dyn Fn(u64, u64) + Sync),
) -> Result<u64> {
    Ok(0)
}
