//! An open memory image: reads on the threads of the handle that opened it, which it may outlive.

use std::sync::{Arc, PoisonError, RwLock};

use hypeman_core::{Error, Kind, MemoryImage, Result};
use napi::Env;
use napi::bindgen_prelude::ToNapiValue;
use napi_derive::napi;

use crate::promise::{Promised, promise};
use crate::results::{Bytes, all, bytes};
use crate::threads::Threads;

/// The guest memory of a snapshot.
#[napi]
pub struct Memory {
    snapshot_id: String,
    path: String,
    size_bytes: u64,
    /// `None` once it was closed. A read holds it while it runs, so that closing waits for those.
    image: Arc<RwLock<Option<MemoryImage>>>,
    threads: Threads,
}

impl Memory {
    pub fn new(image: MemoryImage, threads: Threads) -> Self {
        Self {
            snapshot_id: image.snapshot_id().to_owned(),
            path: image.path().to_string_lossy().into_owned(),
            size_bytes: image.size_bytes(),
            image: Arc::new(RwLock::new(Some(image))),
            threads,
        }
    }

    fn look<'e, T: ToNapiValue + Send + 'static>(
        &self,
        env: &'e Env,
        look: impl FnOnce(&MemoryImage) -> Result<T> + Send + 'static,
    ) -> Promised<'e> {
        let image = Arc::clone(&self.image);
        promise(env, &self.threads, Threads::brief, move || {
            match image.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
                Some(image) => look(image),
                None => Err(Error::new(Kind::Closed, "this memory image was closed; open the memory again")),
            }
        })
    }
}

#[napi]
impl Memory {
    #[napi(getter)]
    pub fn snapshot_id(&self) -> &str {
        &self.snapshot_id
    }

    #[napi(getter)]
    pub fn path(&self) -> &str {
        &self.path
    }

    #[napi(getter)]
    pub fn size_bytes(&self) -> i64 {
        bytes(self.size_bytes)
    }

    /// Reads `length` bytes from `offset` on, fewer where the image ends before.
    #[napi]
    pub fn read<'e>(&self, env: &'e Env, offset: i64, length: i64) -> Promised<'e> {
        self.look(env, move |image| read(image, offset, length).map(Bytes))
    }

    #[napi]
    pub fn extents<'e>(&self, env: &'e Env) -> Promised<'e> {
        self.look(env, |image| image.extents().map(all))
    }

    #[napi]
    pub fn ranges<'e>(&self, env: &'e Env) -> Promised<'e> {
        self.look(env, |image| image.ranges().map(all))
    }

    #[napi]
    pub fn close<'e>(&self, env: &'e Env) -> Promised<'e> {
        let image = Arc::clone(&self.image);
        // Not a brief call: the reads that it waits for are.
        promise(env, &self.threads, Threads::long, move || {
            *image.write().unwrap_or_else(PoisonError::into_inner) = None;
            Ok(())
        })
    }
}

fn read(image: &MemoryImage, offset: i64, length: i64) -> Result<Vec<u8>> {
    let [offset, length] = [("offset", offset), ("length", length)].map(|(name, value)| {
        u64::try_from(value).map_err(|_| {
            Error::new(Kind::InvalidRequest, format!("{name} must not be negative, got {value}"))
        })
    });
    let (offset, length) = (offset?, length?);
    let length = length.min(image.size_bytes().saturating_sub(offset));
    let mut bytes = Vec::new();
    let room = usize::try_from(length).ok().filter(|room| bytes.try_reserve_exact(*room).is_ok());
    let Some(room) = room else {
        let why = format!("there is no memory for {length} bytes at once; read them in pieces");
        return Err(Error::new(Kind::InvalidRequest, why));
    };
    bytes.resize(room, 0);
    let filled = image.read_at(offset, &mut bytes)?;
    bytes.truncate(filled);
    Ok(bytes)
}
