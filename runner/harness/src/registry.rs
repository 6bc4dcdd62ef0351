//! What is registered at link time: tests and marks on modules.
//!
//! Filled by `#[runner::test]` and `marks!`, read by the faces and by supervisors. Only static
//! data: nothing of it runs before `main`.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

use linkme::distributed_slice;
use runner_core::protocol::{Done, HarnessKind, Listing, PROTOCOL_VERSION, Panics};
use runner_core::test::{Mark, MarkKind, ModuleMarks, Place, Test};

use crate::case::Case;

/// Every test of the binary.
#[distributed_slice]
pub static TESTS: [RegisteredTest];

/// Every `marks!` of the binary.
#[distributed_slice]
pub static MODULES: [RegisteredMarks];

/// A test, as the attribute registers it.
#[derive(Debug)]
pub struct RegisteredTest {
    /// `module_path!()`, the crate's name included.
    pub module: &'static str,
    /// The function's name.
    pub name: &'static str,
    /// `file!()`.
    pub file: &'static str,
    /// `line!()`.
    pub line: u32,
    /// Axes it opted in to.
    pub axes: &'static [&'static str],
    /// Its marks.
    pub marks: &'static [RegisteredMark],
    /// What it does.
    pub body: Body,
}

/// Marks on a module, as `marks!` registers them.
#[derive(Debug)]
pub struct RegisteredMarks {
    /// `module_path!()`, the crate's name included.
    pub module: &'static str,
    /// `file!()`.
    pub file: &'static str,
    /// The marks.
    pub marks: &'static [RegisteredMark],
}

/// One mark and the line it stands on.
#[derive(Debug)]
pub struct RegisteredMark {
    /// What it says.
    pub kind: RegisteredMarkKind,
    /// `line!()`.
    pub line: u32,
}

/// [`MarkKind`] as a constant.
#[derive(Debug)]
pub enum RegisteredMarkKind {
    /// [`MarkKind::Needs`]
    Needs(&'static [&'static str]),
    /// [`MarkKind::SkipOnBackend`]
    SkipOnBackend(&'static [&'static str], Option<&'static str>),
    /// [`MarkKind::XfailOnBackend`]
    XfailOnBackend(&'static [&'static str], Option<&'static str>, bool),
    /// [`MarkKind::Timeout`], in milliseconds
    TimeoutMs(u64),
    /// [`MarkKind::Group`]
    Group(&'static str),
    /// [`MarkKind::Ignore`]
    Ignore(Option<&'static str>),
}

/// A future that ends with an attempt's word about itself.
pub type BodyFuture = Pin<Box<dyn Future<Output = Done>>>;

/// What a test does.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    /// A plain function, on the body's thread.
    Sync(fn(Case) -> Done),
    /// An async function, given to the suite's executor on the body's thread.
    Async(fn(Case) -> BodyFuture),
}

impl RegisteredTest {
    /// `area::function`.
    pub(crate) fn full_name(&self) -> String {
        match within_crate(self.module) {
            "" => self.name.to_owned(),
            module => format!("{module}::{}", self.name),
        }
    }

    fn describe(&self) -> Test {
        Test {
            name: self.full_name(),
            module: within_crate(self.module).to_owned(),
            place: Place { file: self.file.to_owned(), line: self.line },
            axes: owned(self.axes),
            marks: self.marks.iter().map(|mark| mark.describe(self.file)).collect(),
        }
    }
}

impl RegisteredMark {
    fn describe(&self, file: &str) -> Mark {
        let place = Place { file: file.to_owned(), line: self.line };
        Mark { kind: self.kind.describe(), place }
    }
}

impl RegisteredMarkKind {
    fn describe(&self) -> MarkKind {
        let text = |text: &Option<&str>| text.map(str::to_owned);
        match self {
            Self::Needs(capabilities) => MarkKind::Needs(owned(capabilities)),
            Self::SkipOnBackend(backends, reason) => {
                MarkKind::SkipOnBackend { backends: owned(backends), reason: text(reason) }
            }
            Self::XfailOnBackend(backends, reason, strict) => MarkKind::XfailOnBackend {
                backends: owned(backends),
                reason: text(reason),
                strict: *strict,
            },
            Self::TimeoutMs(ms) => MarkKind::Timeout(Duration::from_millis(*ms)),
            Self::Group(name) => MarkKind::Group((*name).to_owned()),
            Self::Ignore(reason) => MarkKind::Ignore { reason: text(reason) },
        }
    }
}

/// The test of that name. The first call makes the index: a supervisor makes it before its first
/// fork, for all its cases.
pub(crate) fn find(name: &str) -> Option<&'static RegisteredTest> {
    static INDEX: OnceLock<HashMap<String, &'static RegisteredTest>> = OnceLock::new();
    let index = INDEX.get_or_init(|| TESTS.iter().map(|test| (test.full_name(), test)).collect());
    index.get(name).copied()
}

/// Everything registered, sorted by name: link order is nobody's business.
pub(crate) fn listing(panics: Panics) -> Listing {
    let mut tests: Vec<Test> = TESTS.iter().map(RegisteredTest::describe).collect();
    tests.sort_by(|a, b| a.name.cmp(&b.name));
    let module = |marks: &RegisteredMarks| ModuleMarks {
        module: within_crate(marks.module).to_owned(),
        marks: marks.marks.iter().map(|mark| mark.describe(marks.file)).collect(),
    };
    let mut modules: Vec<ModuleMarks> = MODULES.iter().map(module).collect();
    modules.sort_by(|a, b| a.module.cmp(&b.module));
    Listing { protocol: PROTOCOL_VERSION, tests, modules, harness: HarnessKind::Own, panics }
}

fn within_crate(module_path: &str) -> &str {
    module_path.split_once("::").map_or("", |(_, inner)| inner)
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
