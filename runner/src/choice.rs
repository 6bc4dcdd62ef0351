//! What was asked for, resolved against the manifest and this machine before anything is built.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use runner_core::diagnostic::{Diagnostic, Diagnostics, Source};
use runner_core::event::Stress;
use runner_core::expand::{Options, Selection};
use runner_core::filter::{Filter, Position};
use runner_core::manifest::{
    CaptureMode, FailFast, Group, Manifest, Presence, Profile, Selected, Threads,
};

use runner_core::protocol::{HarnessKind, Resources};
use runner_core::test::Place;

use crate::cli::{MaxFail, RunFlags, SelectFlags};
use crate::exit::{Exit, Failure, warn};

/// Whether this is an unattended build, where what is missing must not pass for done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `CI` is set.
    Unattended,
    /// A person is watching.
    Attended,
}

/// What decides about cases.
pub struct Choice<'a> {
    /// How to run.
    pub profile: &'a Profile,
    /// For expansion.
    pub options: Options,
    /// Which of the cases.
    pub selection: Selection,
    /// The selected backends, in manifest order.
    pub backends: Vec<String>,
}

/// The bounds of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Attempts at once.
    pub slots: usize,
    /// Slots' worth of each group at once.
    pub groups: BTreeMap<String, usize>,
    /// When failures end the run.
    pub fail_fast: Option<FailFast>,
    /// How long the run may last.
    pub global_timeout: Option<Duration>,
    /// How often each case is run.
    pub stress: Option<Stress>,
}

impl Setting {
    /// From the environment.
    pub fn here() -> Self {
        match std::env::var("CI") {
            Ok(value) if !matches!(value.as_str(), "" | "0" | "false") => Self::Unattended,
            Ok(_) | Err(_) => Self::Attended,
        }
    }
}

impl<'a> Choice<'a> {
    /// Resolves the flags that `list` and `run` share.
    ///
    /// # Errors
    /// A name that is in no manifest, a filterset that does not parse, a backend that cannot run
    /// here though it must.
    pub fn new(
        manifest: &'a Manifest,
        flags: &SelectFlags,
        setting: Setting,
    ) -> Result<Self, Failure> {
        let profile =
            manifest.profile(&flags.profile).map_err(|errors| Failure::new(Exit::Usage, errors))?;
        let selected = manifest
            .select_backends(&flags.backends)
            .map_err(|errors| Failure::new(Exit::Usage, errors))?;
        let filters = filters(manifest, &flags.filtersets)?;
        let mut unavailable = manifest.probe();
        unavailable.retain(|backend, _| selected.names.contains(backend));
        check_present(manifest, &selected, &unavailable, setting)?;
        let known = manifest.backends.iter().map(|backend| backend.name.clone());
        Ok(Self {
            profile,
            backends: known.filter(|name| selected.names.contains(name)).collect(),
            options: Options {
                backends: selected.names,
                unavailable,
                timeout_scale: 1.0,
                capture: None,
                leak: None,
                flaky: None,
                retries: None,
                resources: Resources::Ignore,
            },
            selection: Selection {
                words: flags.words.clone(),
                filters,
                default_filter: flags.default_filter(),
                ignored: flags.run_ignored(),
            },
        })
    }

    /// The same, with the flags that only `run` has.
    ///
    /// # Errors
    /// Those of [`Choice::new`].
    pub fn of_run(
        manifest: &'a Manifest,
        flags: &RunFlags,
        setting: Setting,
    ) -> Result<Self, Failure> {
        let mut choice = Self::new(manifest, &flags.select, setting)?;
        choice.options.timeout_scale = flags.timeout_scale;
        choice.options.capture = flags.capture();
        choice.options.leak = flags.leak();
        choice.options.flaky = flags.flaky();
        choice.options.retries = flags.retries;
        choice.options.resources = flags.resources();
        Ok(choice)
    }

    /// How many at once, and when to stop: flag over profile. Without capture it is one at a
    /// time, or nobody could tell whose output it is.
    pub fn bounds(&self, manifest: &Manifest, flags: &RunFlags) -> Bounds {
        let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = match (flags.test_threads, flags.capture()) {
            (Some(threads), _) => threads,
            (None, Some(CaptureMode::No)) => Threads::Count(1),
            (None, Some(CaptureMode::Sys | CaptureMode::TeeSys | CaptureMode::Fd) | None) => {
                self.profile.threads
            }
        };
        let limit = |group: &Group| (group.name.clone(), group.max_threads.resolve(cpus));
        Bounds {
            slots: threads.resolve(cpus),
            groups: manifest.groups.iter().map(limit).collect(),
            fail_fast: match flags.max_fail() {
                Some(MaxFail::After(limit)) => Some(limit),
                Some(MaxFail::Never) => None,
                None => self.profile.fail_fast,
            },
            global_timeout: self.profile.global_timeout,
            stress: flags.stress(),
        }
    }

    /// Whether the output of every suite can be taken as was asked for, and every backend tolerates
    /// how it will be taken: that depends on the harness that each suite was found to have.
    ///
    /// # Errors
    /// Where `CI` is set, each that cannot or does not. Elsewhere they are warned of.
    pub fn check_capture(
        &self,
        manifest: &Manifest,
        harnesses: &[(String, HarnessKind)],
        setting: Setting,
    ) -> Result<(), Failure> {
        let mut errors = Diagnostics::default();
        for (suite, harness) in harnesses {
            let Some(suite) = manifest.suite(suite) else { continue };
            let mode = suite.capture_with(*harness, self.options.capture);
            let asked = self.options.capture.or(suite.capture);
            if let Some(asked) = asked.filter(|asked| *asked != mode) {
                let (name, asked, mode) = (&suite.name, asked.word(), mode.word());
                let message = format!(
                    "suite `{name}` has a harness of its own: its output is taken by capture \
                     `{mode}`, not `{asked}`"
                );
                refuse(&mut errors, message, &suite.place, setting);
            }
            let chosen = manifest.backends.iter().filter(|it| suite.backends.contains(&it.name));
            let chosen = chosen.filter(|backend| self.backends.contains(&backend.name));
            for backend in chosen.filter(|backend| !tolerates(&backend.capture, mode)) {
                let (name, word) = (&backend.name, mode.word());
                let message = format!("backend `{name}` does not tolerate capture `{word}`");
                refuse(&mut errors, message, &backend.place, setting);
            }
        }
        errors.into_result(()).map_err(|errors| Failure::new(Exit::Setup, errors))
    }
}

/// An error where nobody would see a warning.
fn refuse(errors: &mut Diagnostics, message: String, place: &Place, setting: Setting) {
    match setting {
        Setting::Unattended => errors.push(Diagnostic::new(message).at_line(place)),
        Setting::Attended => warn(message),
    }
}

/// Taking nothing disturbs nobody.
fn tolerates(modes: &[CaptureMode], mode: CaptureMode) -> bool {
    mode == CaptureMode::No || modes.contains(&mode)
}

fn filters(manifest: &Manifest, texts: &[String]) -> Result<Vec<Filter>, Failure> {
    let vocabulary = manifest.vocabulary();
    let mut errors = Diagnostics::default();
    let mut filters = Vec::new();
    for text in texts {
        match Filter::parse(text, Position::CommandLine, &vocabulary) {
            Ok(filter) => filters.push(filter),
            Err(wrong) => {
                let source = Source { name: "--filterset".into(), text: text.clone() };
                let source = Arc::new(source);
                wrong.into_iter().for_each(|it| errors.push(it.into_diagnostic(&source, 0)));
            }
        }
    }
    errors.into_result(filters).map_err(|errors| Failure::new(Exit::Filterset, errors))
}

/// No matrix is green because a column did not run: what was asked for by name, or by an
/// unattended build, must be there.
fn check_present(
    manifest: &Manifest,
    selected: &Selected,
    unavailable: &BTreeMap<String, String>,
    setting: Setting,
) -> Result<(), Failure> {
    let mut errors = Diagnostics::default();
    for (name, reason) in unavailable {
        let Some(backend) = manifest.backend(name) else { continue };
        let is_demanded = setting == Setting::Unattended || selected.by_name.contains(name);
        if backend.presence == Presence::Required && is_demanded {
            let message = format!("backend `{name}` cannot run here: {reason}");
            errors.push(
                Diagnostic::new(message)
                    .at_line(&backend.place)
                    .hint("say `optional = true` if that is all right"),
            );
        }
    }
    errors.into_result(()).map_err(|errors| Failure::new(Exit::Setup, errors))
}
