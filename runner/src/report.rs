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
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow};
use runner_core::event::Event;

use crate::exit::warn;

pub use lines::{Context, Lines, Told};
pub use tally::Tally;

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
    /// Unbounded: a case has a handful of events and a second has ten ticks; what cannot be drawn
    /// in time waits here instead of holding up the run.
    events_tx: Sender<Event>,
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
        let (events_tx, events_rx) = channel();
        let (settled, settled_rx) = sync_channel(1);
        // The thread inherits this mask: a signal taken by it would be nobody's.
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let thread = Builder::new().name("report".into()).spawn(move || match view {
            View::Plain => draw_lines(&events_rx, &settled, Told::Ends, context),
            View::Unfiltered => draw_lines(&events_rx, &settled, Told::Beginnings, context),
            View::Bar => bar::draw(&events_rx, &settled, context),
        });
        before.thread_set_mask()?;
        Ok(Self { view, events_tx, settled_rx, thread: thread? })
    }

    /// Hands over one event. Blocks only for [`Event::RunPaused`], after which the whole process
    /// stops, and then not for long: a terminal may stand still.
    pub fn on_event(&self, event: &Event) {
        if self.view != View::Bar && matches!(event, Event::Tick) {
            return;
        }
        // A drawer that gave up (its pipe is closed) is no reason to end a run.
        let _ = self.events_tx.send(event.clone());
        if matches!(event, Event::RunPaused { .. }) {
            let _ = self.settled_rx.recv_timeout(SETTLE_LIMIT);
        }
    }

    /// Waits until all is drawn.
    pub fn finish(self) {
        drop(self.events_tx);
        match self.thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Ok(Err(error)) => warn(format!("the report is incomplete: {error}")),
            Err(_) => warn("the report is incomplete: its thread panicked"),
        }
    }
}

fn draw_lines(
    events: &Receiver<Event>,
    settled: &SyncSender<()>,
    told: Told,
    context: Context,
) -> io::Result<()> {
    let mut lines = Lines::new(told, context);
    let mut buffer = Vec::new();
    while let Ok(event) = events.recv() {
        lines.on_event(&event, &mut buffer);
        if !buffer.is_empty() {
            print(&buffer)?;
            buffer.clear();
        }
        if matches!(event, Event::RunPaused { .. }) {
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
