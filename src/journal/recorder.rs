//! The engine's end of the journal.
//!
//! Invariants: nothing here waits, but at the very end; series that come and go are never lost, only
//! samples are; a loss is told before what comes after it.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use super::write::Writer;
use super::{Record, Settings};
use crate::detect::{Collector, Found, Input, Knowledge, Track};
use crate::sample::SeriesId;
use crate::time::{Clock, Timestamp};

/// Records under way to the writer: some seconds at ten thousand a second, 10 MB.
const UNDER_WAY: usize = 50_000;

/// Hands records to the writer's thread.
#[derive(Debug)]
pub struct Recorder {
    sender: Option<SyncSender<Record>>,
    thread: Option<JoinHandle<()>>,
    /// Series that came and went while there was no room.
    waiting: VecDeque<Record>,
    /// Samples that were dropped before those.
    lost: u64,
    /// Whether that was said: once is enough.
    told: bool,
}

impl Recorder {
    /// Begins a journal.
    ///
    /// # Errors
    /// If its directory cannot be written, or another program writes there.
    pub fn start(settings: Settings, clock: Box<dyn Clock>) -> io::Result<Self> {
        let writer = Writer::new(settings, clock)?;
        let (sender, receiver) = sync_channel(UNDER_WAY);
        let thread =
            std::thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run(&receiver))?;
        let mut recorder = Self::into(sender);
        recorder.thread = Some(thread);
        Ok(recorder)
    }

    /// One without a thread: whoever has the other end reads.
    pub(super) const fn into(sender: SyncSender<Record>) -> Self {
        Self { sender: Some(sender), thread: None, waiting: VecDeque::new(), lost: 0, told: false }
    }

    /// Writes down what a collector is told.
    pub fn record(&mut self, input: &Input<'_>) {
        if self.sender.is_none() {
            return;
        }
        let record = Record::of(input);
        let room = self.catch_up();
        if matches!(record, Record::Sample(..) | Record::Path { .. } | Record::Tick { .. }) {
            if !room || self.offer(record).is_some() {
                self.lost += u64::from(!matches!(input, Input::Tick { .. }));
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!("the journal's disk is too slow: samples are missing from the journal");
                }
            }
        } else {
            self.waiting.push_back(record);
            self.catch_up();
        }
    }

    /// Hands over what had to wait; whether there is room for more.
    fn catch_up(&mut self) -> bool {
        if self.lost > 0 {
            if self.offer(Record::Gap { lost: self.lost }).is_some() {
                return false;
            }
            self.lost = 0;
        }
        while let Some(record) = self.waiting.pop_front() {
            if let Some(back) = self.offer(record) {
                self.waiting.push_front(back);
                return false;
            }
        }
        true
    }

    /// Hands a record over, or back.
    fn offer(&mut self, record: Record) -> Option<Record> {
        match self.sender.as_ref()?.try_send(record) {
            Ok(()) => None,
            Err(TrySendError::Full(record)) => Some(record),
            Err(TrySendError::Disconnected(_)) => {
                tracing::error!("the journal's thread has ended; nothing more is written");
                self.sender = None;
                None
            }
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let Some(sender) = self.sender.take() else { return };
        let gap = (self.lost > 0).then_some(Record::Gap { lost: self.lost });
        for record in gap.into_iter().chain(self.waiting.drain(..)) {
            if self.thread.is_none() || sender.send(record).is_err() {
                return;
            }
        }
        drop(sender);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The collector, and whoever writes down what it is told.
#[derive(Debug, Default)]
pub struct Intake {
    collector: Collector,
    recorder: Option<Recorder>,
}

impl Intake {
    /// Has what comes from now on written down.
    pub fn record(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    /// Goes on from what an earlier process knew; see [`Collector::resumed`]. Before anything is taken.
    pub fn resume(&mut self, knowledge: Knowledge) {
        self.collector = Collector::resumed(knowledge);
    }

    /// See [`Collector::keep`].
    #[must_use]
    pub fn keep(&mut self, now: Timestamp) -> Knowledge {
        self.collector.keep(now)
    }

    /// See [`Collector::track`].
    #[must_use]
    pub fn track(&self, series: SeriesId) -> Option<&Track> {
        self.collector.track(series)
    }

    /// See [`Collector::deadline`].
    #[must_use]
    pub const fn deadline(&self) -> Timestamp {
        self.collector.deadline()
    }

    /// See [`Collector::take`].
    pub fn take(&mut self, input: Input<'_>, out: &mut Vec<Found>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.record(&input);
        }
        self.collector.take(input, out);
    }
}
