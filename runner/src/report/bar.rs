//! The bar at the bottom of a terminal: how far the run is, and what has been running longest.
//!
//! Redrawn at ticks only; between them an event costs no more than a line would.

use std::io;
use std::sync::mpsc::{Receiver, RecvError, SyncSender};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use runner_core::event::{CaseName, Event};

use super::lines::{Context, Lines, Told};
use super::{News, print, tally::Tally, tell_settled};

/// Redraws a second at most.
const REDRAWS: u8 = 10;

/// So many of the running cases are named.
const NAMED: usize = 4;

/// A case that has not run for so long is not worth a line that is gone before it is read.
const WORTH_NAMING: Duration = Duration::from_millis(500);

/// Draws until there are no more events.
pub(super) fn draw(
    events: &Receiver<News>,
    settled: &SyncSender<()>,
    context: Context,
) -> io::Result<()> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(REDRAWS));
    if let Ok(style) = ProgressStyle::with_template("  {bar:30.green} {pos}/{len} {msg}") {
        bar.set_style(style.progress_chars("━━─"));
    }
    let mut lines = Lines::new(Told::Notable, context);
    let mut running = Running::default();
    let mut above = Vec::new();
    let mut next = events.recv();
    while let Ok(news) = next {
        let event = match news {
            News::Event(event) => event,
            News::Missed { events: missed, tally } => {
                lines.on_missed(missed, *tally, &mut above);
                running.forget();
                next = events.recv();
                continue;
            }
        };
        let now = Instant::now();
        running.on_event(&event, now);
        lines.on_event(&event, &mut above);
        let is_last = matches!(event, Event::RunFinished { .. });
        if is_last {
            bar.finish_and_clear();
        }
        if matches!(event, Event::RunPaused { .. }) {
            // No bar below it until the run goes on: a shell writes there.
            next = bar.suspend(|| print(&above).map(|()| told_next(events, settled)))?;
            above.clear();
            continue;
        }
        if !above.is_empty() {
            bar.suspend(|| print(&above))?;
            above.clear();
        }
        match event {
            Event::RunStarted { .. } => {
                if let Some(ends) = lines.to_run() {
                    bar.set_length(ends as u64);
                }
            }
            Event::Tick if !is_last => {
                bar.set_position(lines.tally().finished() as u64);
                bar.set_message(running.message(lines.tally(), now));
            }
            Event::CaseSkipped { .. }
            | Event::AttemptStarted { .. }
            | Event::AttemptSlow { .. }
            | Event::AttemptFinished(_)
            | Event::ScaleProposed { .. }
            | Event::RetryForgone { .. }
            | Event::RunCut { .. }
            | Event::InterruptRequested { .. }
            | Event::AttemptInspected { .. }
            | Event::RunPaused { .. }
            | Event::RunResumed { .. }
            | Event::StatusAsked
            | Event::SupervisorLost { .. }
            | Event::RunFinished { .. }
            | Event::Tick => {}
        }
        next = events.recv();
    }
    bar.finish_and_clear();
    Ok(())
}

fn told_next(events: &Receiver<News>, settled: &SyncSender<()>) -> Result<News, RecvError> {
    tell_settled(settled);
    events.recv()
}

/// What runs, oldest first.
#[derive(Default)]
pub(super) struct Running {
    started: Option<Instant>,
    cases: Vec<(CaseName, Instant)>,
}

impl Running {
    /// Nobody knows which of them still run; those that go on are seen again at their end.
    fn forget(&mut self) {
        self.cases.clear();
    }

    pub(super) fn on_event(&mut self, event: &Event, now: Instant) {
        match event {
            Event::RunStarted { .. } => self.started = Some(now),
            Event::AttemptStarted { case, .. } => self.cases.push((case.clone(), now)),
            Event::AttemptFinished(finished) => {
                self.cases.retain(|(case, _)| *case != finished.case);
            }
            Event::RunResumed { after } => self.postpone(*after),
            Event::CaseSkipped { .. }
            | Event::AttemptSlow { .. }
            | Event::ScaleProposed { .. }
            | Event::RetryForgone { .. }
            | Event::RunCut { .. }
            | Event::InterruptRequested { .. }
            | Event::AttemptInspected { .. }
            | Event::RunPaused { .. }
            | Event::StatusAsked
            | Event::SupervisorLost { .. }
            | Event::RunFinished { .. }
            | Event::Tick => {}
        }
    }

    fn postpone(&mut self, by: Duration) {
        self.started = self.started.map(|started| started + by);
        self.cases.iter_mut().for_each(|(_, since)| *since += by);
    }

    /// What stands right of the bar and below it.
    pub(super) fn message(&self, tally: &Tally, now: Instant) -> String {
        let elapsed = self.started.map_or(Duration::ZERO, |started| now - started);
        let mut text = format!("in {} s", elapsed.as_secs());
        match tally.failed() {
            0 => {}
            failed => text.push_str(&format!(", {failed} failed")),
        }
        let old = self.cases.iter().filter(|(_, since)| now - *since >= WORTH_NAMING);
        for (case, since) in old.take(NAMED) {
            let seconds = (now - *since).as_secs_f64();
            text.push_str(&format!("\n  {seconds:>6.1} s  {}", case.id));
        }
        text
    }
}
