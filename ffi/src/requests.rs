//! What C asks of snapshots: which to create, which to list.

use std::collections::BTreeMap;
use std::ffi::c_char;

use hypeman_core::{CreateSnapshot, Result, SnapshotFilter, SnapshotKind};

use crate::border::{array, invalid, required, text};
use crate::call::{CallOptions, call};
use crate::compression::{Compression, compression};
use crate::options::{self, Options};
use crate::snapshot::Kind;

/// A tag: a key of 1 to 128 and a value of 0 to 256 characters, of [A-Za-z0-9 _.:/=+@-].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Tag {
    /// The key; each at most once.
    pub key: *const c_char,
    /// The value.
    pub value: *const c_char,
}

/// What to capture, and how to call it. Start from HYPEMAN_CREATE_OPTIONS_INIT; kind is required.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CreateOptions {
    /// sizeof(hypeman_create_options)
    pub struct_size: usize,
    /// HYPEMAN_KIND_STANDBY or HYPEMAN_KIND_STOPPED.
    pub kind: i32,
    /// Must be 0.
    pub reserved: u32,
    /// The kind as text, for callers that have it so ("Standby", "Stopped"): used in place of kind. Or NULL.
    pub kind_name: *const c_char,
    /// 1 to 63 of [a-z0-9-], no dash at either end, unique per source instance; NULL for no name.
    pub name: *const c_char,
    /// At most 50 tags, or NULL.
    pub tags: *const Tag,
    /// The number of tags.
    pub tag_count: usize,
    /// Compression of guest memory; NULL: as instance and library say. Refused with HYPEMAN_KIND_STOPPED.
    pub compression: *const Compression,
    /// Cancel token, time limit and progress, or NULL.
    pub call: *const CallOptions,
}

// SAFETY: repr(C), the size first; two ints together fill a word; integers and pointers.
unsafe impl Options for CreateOptions {
    const FIRST_BYTES: usize = 7 * size_of::<usize>() + 2 * size_of::<i32>();
}

/// Which snapshots to list: what is set must match, exactly. Start from HYPEMAN_LIST_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ListOptions {
    /// sizeof(hypeman_list_options)
    pub struct_size: usize,
    /// HYPEMAN_KIND_STANDBY, HYPEMAN_KIND_STOPPED, or 0 for any.
    pub kind: i32,
    /// Must be 0.
    pub reserved: u32,
    /// The kind as text, for callers that have it so: used in place of kind. Or NULL.
    pub kind_name: *const c_char,
    /// This name; "" for snapshots without one; NULL for any.
    pub name: *const c_char,
    /// This id of the source, which is not looked up and may be gone; NULL for any.
    pub source_instance_id: *const c_char,
    /// Each of these tags, key and value, or NULL.
    pub tags: *const Tag,
    /// The number of tags.
    pub tag_count: usize,
}

// SAFETY: as for CreateOptions.
unsafe impl Options for ListOptions {
    const FIRST_BYTES: usize = 6 * size_of::<usize>() + 2 * size_of::<i32>();
}

/// Reads what to create, and how the call is watched.
///
/// # Safety
/// `given` is NULL or valid options.
pub(crate) unsafe fn creation<'c>(
    given: *const CreateOptions,
) -> Result<(CreateSnapshot, hypeman_core::Call<'c>)> {
    // SAFETY: what the caller promises.
    let CreateOptions {
        struct_size: _,
        kind: number,
        reserved,
        kind_name,
        name,
        tags: first_tag,
        tag_count,
        compression: settings,
        call: watched,
    } = unsafe { options::read(given) }?;
    check_reserved(reserved)?;
    // SAFETY: options that are valid point to NULL or what is valid.
    unsafe {
        let request = CreateSnapshot {
            // No kind is as wrong as any number that is none: core says which there are.
            kind: kind(number, kind_name)?.unwrap_or_else(|| SnapshotKind::Other(number.to_string())),
            name: text(name, "name")?.map(str::to_owned),
            tags: tags(first_tag, tag_count)?,
            compression: compression(settings)?,
        };
        Ok((request, call(watched)?))
    }
}

/// Reads which to list.
///
/// # Safety
/// `given` is NULL or valid options.
pub(crate) unsafe fn filter(given: *const ListOptions) -> Result<SnapshotFilter> {
    // SAFETY: what the caller promises.
    let ListOptions {
        struct_size: _,
        kind: number,
        reserved,
        kind_name,
        name,
        source_instance_id,
        tags: first_tag,
        tag_count,
    } = unsafe { options::read(given) }?;
    check_reserved(reserved)?;
    // SAFETY: options that are valid point to NULL or what is valid.
    unsafe {
        Ok(SnapshotFilter {
            kind: kind(number, kind_name)?,
            name: text(name, "name")?.map(str::to_owned),
            source_instance_id: text(source_instance_id, "source_instance_id")?.map(str::to_owned),
            tags: tags(first_tag, tag_count)?.unwrap_or_default(),
        })
    }
}

/// The kind that is asked for: the text where there is one, else the number; `None` for neither.
///
/// # Safety
/// `name` is NULL or a valid text.
unsafe fn kind(number: i32, name: *const c_char) -> Result<Option<SnapshotKind>> {
    // SAFETY: what the caller promises.
    if let Some(name) = unsafe { text(name, "kind_name") }? {
        return Ok(Some(name.into()));
    }
    const STANDBY: i32 = Kind::Standby as i32;
    const STOPPED: i32 = Kind::Stopped as i32;
    Ok(match number {
        0 => None,
        STANDBY => Some(SnapshotKind::Standby),
        STOPPED => Some(SnapshotKind::Stopped),
        // Core refuses a number that stands for nothing as it refuses a name that does.
        _ => Some(SnapshotKind::Other(number.to_string())),
    })
}

/// # Safety
/// `first` is NULL or points to `count` tags of valid texts.
unsafe fn tags(first: *const Tag, count: usize) -> Result<Option<BTreeMap<String, String>>> {
    // SAFETY: what the caller promises.
    let Some(given) = (unsafe { array(first, count, "tags") })? else { return Ok(None) };
    let mut tags = BTreeMap::new();
    for Tag { key, value } in given {
        // SAFETY: what the caller promises.
        let (key, value) = unsafe { (text(*key, "a tag's key")?, text(*value, "a tag's value")?) };
        let (key, value) = (required(key, "a tag's key")?, required(value, "a tag's value")?);
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(invalid(format!("tag {key:?} is given twice")));
        }
    }
    Ok(Some(tags))
}

pub(crate) fn check_reserved(reserved: u32) -> Result<()> {
    if reserved == 0 { Ok(()) } else { Err(invalid("the reserved field of the options must be 0")) }
}
