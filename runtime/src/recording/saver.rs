//! A thread that keeps a [`Store`], so that whoever records need not wait for the disk.

use std::{
    io,
    sync::mpsc::{Receiver, RecvError, Sender, TryRecvError, channel},
    thread::{self, JoinHandle},
};

use super::{Episode, Store};

/// What is to be done.
enum Job {
    Add(Episode, Option<u32>),
    RemoveLast,
}

/// A [`Store`] on a thread of its own.
///
/// One change is under way at most: another one waits until the one before is on the disk, so that a
/// sudden death costs no more than what has not been told to be there.
pub struct Saver {
    jobs: Sender<Job>,
    done: Receiver<io::Result<()>>,
    thread: JoinHandle<Store>,
    under_way: bool,
    episodes: usize,
    on_disk: usize,
}

impl Saver {
    /// Starts the thread.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(mut store: Store) -> io::Result<Self> {
        let episodes = store.episodes().len();
        let (jobs, todo) = channel();
        let (finished, done) = channel();
        let thread = thread::Builder::new().name("sog-saver".to_string()).spawn(move || {
            for job in todo {
                let result = match job {
                    Job::Add(episode, mode) => store.add(episode, mode),
                    Job::RemoveLast => store.remove_last(),
                };
                // Whoever does not listen any more is told by `finish`.
                let _ = finished.send(result);
            }
            store
        })?;
        Ok(Self { jobs, done, thread, under_way: false, episodes, on_disk: episodes })
    }

    /// Episodes that are on the disk, or on their way there.
    pub fn episodes(&self) -> usize {
        self.episodes
    }

    /// Episodes that are known to be on the disk.
    pub fn on_disk(&self) -> usize {
        self.on_disk
    }

    /// Adds an episode, as [`Store::add`]; waits for what was to be done before.
    ///
    /// # Errors
    /// What the disk said to that.
    pub fn add(&mut self, episode: Episode, mode: Option<u32>) -> io::Result<()> {
        self.wait()?;
        self.episodes += 1;
        self.give(Job::Add(episode, mode))
    }

    /// Removes the last episode, as [`Store::remove_last`]; waits likewise.
    ///
    /// # Errors
    /// What the disk said to what was before.
    pub fn remove_last(&mut self) -> io::Result<()> {
        self.wait()?;
        self.episodes = self.episodes.saturating_sub(1);
        self.give(Job::RemoveLast)
    }

    fn give(&mut self, job: Job) -> io::Result<()> {
        self.under_way = true;
        self.jobs.send(job).map_err(|_| gone())
    }

    /// Whether all is done.
    ///
    /// # Errors
    /// What the disk said.
    pub fn is_done(&mut self) -> io::Result<bool> {
        if !self.under_way {
            return Ok(true);
        }
        match self.done.try_recv() {
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => Err(gone()),
            Ok(result) => {
                self.under_way = false;
                self.settle(result).map(|()| true)
            }
        }
    }

    /// Waits until all is done.
    ///
    /// # Errors
    /// What the disk said.
    pub fn wait(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.under_way) {
            return Ok(());
        }
        let result = self.done.recv().map_err(|RecvError| gone())?;
        self.settle(result)
    }

    fn settle(&mut self, result: io::Result<()>) -> io::Result<()> {
        result.map(|()| self.on_disk = self.episodes)
    }

    /// Ends the thread when all is done.
    ///
    /// # Errors
    /// What the disk said.
    pub fn finish(mut self) -> io::Result<Store> {
        let last = self.wait();
        drop(self.jobs);
        let store = self.thread.join().map_err(|_| gone())?;
        last.map(|()| store)
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that writes has ended")
}
