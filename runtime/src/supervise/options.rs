//! What is chosen about a child beside what it is: the same for one that is started and one that is supervised.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::rpc::Exposes;
use crate::spawn::Backend;
use crate::variables::Variables;

#[derive(Clone)]
pub(super) struct Options {
    pub(super) name: String,
    pub(super) backend: Option<Backend>,
    pub(super) env: Vec<(OsString, Option<OsString>)>,
    pub(super) program: Option<PathBuf>,
    pub(super) offers: Exposes,
    pub(super) boot_deadline: Option<Duration>,
    pub(super) variables: Variables,
}

impl Options {
    pub(super) fn new(name: String) -> Options {
        Options {
            name,
            backend: None,
            env: Vec::new(),
            program: None,
            offers: Exposes::default(),
            boot_deadline: None,
            variables: Variables::new(),
        }
    }
}

/// The methods of a builder that has `options`.
macro_rules! setters {
    () => {
        /// How the child comes to be. Default: as this actor did; for a root, as its configuration says.
        pub fn backend(mut self, backend: $crate::Backend) -> Self {
            self.options.backend = Some(backend);
            self
        }

        /// Sets a variable of the child's environment. Not on `thread`, which has none of its own.
        pub fn env(
            mut self,
            name: impl Into<std::ffi::OsString>,
            value: impl Into<std::ffi::OsString>,
        ) -> Self {
            self.options.env.push((name.into(), Some(value.into())));
            self
        }

        /// Removes a variable from the child's environment. Not on `thread`.
        pub fn env_remove(mut self, name: impl Into<std::ffi::OsString>) -> Self {
            self.options.env.push((name.into(), None));
            self
        }

        /// Another program than this one, which must begin with [`divert`](crate::divert). On `exec` only.
        pub fn program(mut self, path: impl Into<std::path::PathBuf>) -> Self {
            self.options.program = Some(path.into());
            self
        }

        /// Lets the child call `F` in this actor, by [`ActorInfo::parent_portal`](crate::ActorInfo::parent_portal): beside what this
        /// actor exposes to all.
        pub fn offer<F: $crate::Remote>(mut self) -> Self {
            self.options.offers = self.options.offers.function::<F>();
            self
        }

        /// How long the child may take to be ready before it is killed. Default: the tree's [`Timings`](crate::Timings).
        pub fn boot_deadline(mut self, deadline: std::time::Duration) -> Self {
            self.options.boot_deadline = Some(deadline);
            self
        }

        /// Sets a runtime variable of the child and all below it, over the one of that type it would inherit; see
        /// [`ActorInfo::var`](crate::ActorInfo::var).
        pub fn var<V: serde::Serialize + serde::de::DeserializeOwned + 'static>(
            mut self,
            value: &V,
        ) -> Self {
            self.options.variables = self.options.variables.with(value);
            self
        }
    };
}
pub(super) use setters;
