//! Tells a person what happens, from events alone.
//!
//! Drawing is done by a thread of its own, behind a channel: a terminal that stands still (or a
//! pager, or a full pipe) must not hold up a run. Nothing here knows how cases are run, and
//! nothing that runs cases knows anything here.

mod bar;
mod excerpt;
mod lines;
mod matrix;
mod style;
mod summary;
mod tally;

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow};
use runner_core::event::Event;

use crate::exit::warn;

pub use lines::{Context, Lines, Told};
pub use tally::Tally;

/// What the thread that draws is sent.
pub(crate) enum News {
    /// Something happened.
    Event(Event),
    /// So many events found no room; what they came to.
    Missed { events: usize, tally: Box<Tally> },
}

/// So many events may wait to be drawn: as many as some minutes of a fast run have, in a few tens
/// of megabytes at most.
const WAITING_EVENTS: usize = 1 << 16;

/// So long a run that is to stand still waits for what is to be drawn before.
const SETTLE_LIMIT: Duration = Duration::from_millis(200);

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// A line a case, in nextest's format.
    Plain,
    /// The same and a line where one begins: for output that is let through.
    Unfiltered,
    /// A bar that is redrawn, and lines above it for what is not a plain pass.
    Bar,
}

/// The thread that draws, and the way to it.
pub struct Reporter {
    view: View,
    /// What cannot be drawn in time waits here instead of holding up the run; what finds no room
    /// is not drawn, and that is told.
    news_tx: SyncSender<News>,
    /// Events that found no room since the last one that did.
    missed: usize,
    /// Told when everything up to [`Event::RunPaused`] is drawn.
    settled_rx: Receiver<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl View {
    /// A bar needs a terminal on both streams, and somebody who wants one.
    pub fn here() -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_terminal = io::stdout().is_terminal() && io::stderr().is_terminal();
        if is_terminal && !is_set("NO_COLOR") && !is_set("CI") { Self::Bar } else { Self::Plain }
    }
}

impl Reporter {
    /// Starts drawing.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start(view: View, context: Context) -> io::Result<Self> {
        Self::start_with(view, WAITING_EVENTS, move |news, settled| match view {
            View::Plain => draw_lines(&news, &settled, Lines::new(Told::Ends, context), print),
            View::Unfiltered => {
                draw_lines(&news, &settled, Lines::new(Told::Beginnings, context), print)
            }
            View::Bar => bar::draw(&news, &settled, context),
        })
    }

    fn start_with(
        view: View,
        waiting_events: usize,
        draw: impl FnOnce(Receiver<News>, SyncSender<()>) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (news_tx, news_rx) = sync_channel(waiting_events);
        let (settled, settled_rx) = sync_channel(1);
        // The thread inherits this mask: a signal taken by it would be nobody's.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let thread = Builder::new().name("report".into()).spawn(move || draw(news_rx, settled));
        before.thread_set_mask()?;
        Ok(Self { view, news_tx, missed: 0, settled_rx, thread: thread? })
    }

    /// Hands over one event; `before` is what all events before it came to. Blocks only for
    /// [`Event::RunPaused`], after which the whole process stops, and then not for long, as a
    /// terminal may stand still; and for [`Event::RunFinished`], when nothing waits for it.
    pub fn on_event(&mut self, event: &Event, before: &Tally) {
        if self.view != View::Bar && matches!(event, Event::Tick) {
            return;
        }
        if self.missed > 0 {
            let tally = Box::new(before.clone());
            self.hand_over(News::Missed { events: self.missed, tally }, event);
        }
        self.hand_over(News::Event(event.clone()), event);
        if matches!(event, Event::RunPaused { .. }) {
            let _ = self.settled_rx.recv_timeout(SETTLE_LIMIT);
        }
    }

    /// A drawer that gave up (its pipe is closed) is no reason to end a run.
    fn hand_over(&mut self, news: News, now: &Event) {
        let is_missed_ones = matches!(news, News::Missed { .. });
        let sent = if matches!(now, Event::RunFinished { .. }) {
            self.news_tx.send(news).is_ok()
        } else {
            !matches!(self.news_tx.try_send(news), Err(TrySendError::Full(_)))
        };
        match (sent, is_missed_ones) {
            (true, true) => self.missed = 0,
            (false, false) => self.missed += 1,
            (true, false) | (false, true) => {}
        }
    }

    /// Waits until all is drawn.
    pub fn finish(self) {
        drop(self.news_tx);
        match self.thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Ok(Err(error)) => warn(format!("the report is incomplete: {error}")),
            Err(_) => warn("the report is incomplete: its thread panicked"),
        }
    }
}

fn draw_lines(
    news: &Receiver<News>,
    settled: &SyncSender<()>,
    mut lines: Lines,
    print: impl Fn(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Ok(news) = news.recv() {
        let is_pause = matches!(news, News::Event(Event::RunPaused { .. }));
        match news {
            News::Event(event) => lines.on_event(&event, &mut buffer),
            News::Missed { events, tally } => lines.on_missed(events, *tally, &mut buffer),
        }
        if !buffer.is_empty() {
            print(&buffer)?;
            buffer.clear();
        }
        if is_pause {
            tell_settled(settled);
        }
    }
    Ok(())
}

/// Nobody may be waiting any more.
fn tell_settled(settled: &SyncSender<()>) {
    let _ = settled.try_send(());
}

/// Styled text to stdout, in one piece, stripped where that cannot show it.
fn print(text: &[u8]) -> io::Result<()> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text)?;
    stdout.flush()
}

#[cfg(test)]
mod tests;
