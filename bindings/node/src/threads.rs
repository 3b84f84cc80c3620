//! Where calls run: threads of our own that end when there is nothing to do.
//!
//! libuv has four threads for all of a process, and files, names and hashes of everyone wait for them.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A call, complete with the promise that it settles. It never panics: every call runs inside core's firewall.
pub type Job = Box<dyn FnOnce() + Send>;

/// [`Threads::brief`] or [`Threads::long`].
pub type Start = fn(&Threads, Job) -> io::Result<()>;

/// Most brief calls that run at once; the others wait their turn.
const MOST: usize = 32;

/// The threads of one handle.
#[derive(Clone, Default)]
pub struct Threads(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    running: usize,
    waiting: VecDeque<Job>,
}

impl Threads {
    /// Runs a call that ends soon, as soon as fewer than [`MOST`] of its kind run.
    pub fn brief(&self, job: Job) -> io::Result<()> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.waiting.push_back(job);
        if queue.running < MOST {
            let threads = self.clone();
            match spawn(Box::new(move || threads.work())) {
                Ok(()) => queue.running += 1,
                Err(error) if queue.running == 0 => {
                    queue.waiting.pop_back();
                    return Err(error);
                }
                // The system has no thread for us now; those that run take the call over.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Runs a call that may wait for a VMM or for another call, on a thread of its own, so that it is in no one's way.
    pub fn long(&self, job: Job) -> io::Result<()> {
        spawn(job)
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let job = queue.waiting.pop_front();
        if job.is_none() {
            queue.running -= 1;
        }
        job
    }
}

fn spawn(job: Job) -> io::Result<()> {
    thread::Builder::new().name("hypeman-call".to_owned()).spawn(job).map(drop)
}
