//! Where the manifest comes from: a path somebody gave, a variable, or the nearest file upwards.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Manifest, parse};
use crate::diagnostic::{Diagnostic, Diagnostics, Source};
use crate::protocol::variable;

/// What a manifest is called.
const FILE_NAME: &str = "runner.toml";

impl Manifest {
    /// The manifest of a folder: the file that `RUNNER_MANIFEST` names, else the nearest
    /// `runner.toml` upwards.
    ///
    /// # Errors
    /// There is none, it cannot be read, or anything is wrong in it.
    pub fn find(from: &Path) -> Result<Self, Diagnostics> {
        if let Some(path) = std::env::var_os(variable::MANIFEST) {
            return Self::load(Path::new(&path));
        }
        let candidates = from.ancestors().map(|folder| folder.join(FILE_NAME));
        match candidates.into_iter().find(|path| path.is_file()) {
            Some(path) => Self::load(&path),
            None => {
                Err(Diagnostic::new(format!("no `{FILE_NAME}` in {} or above it", from.display()))
                    .hint(format!("name one with `--manifest` or {}", variable::MANIFEST))
                    .into())
            }
        }
    }

    /// Reads and parses that file.
    ///
    /// # Errors
    /// It cannot be read, or anything is wrong in it.
    pub fn load(path: &Path) -> Result<Self, Diagnostics> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let name = short_name(&path);
        let bytes = std::fs::read(&path)
            .map_err(|error| Diagnostic::new(format!("cannot read {name}: {error}")))?;
        let text = String::from_utf8(bytes)
            .map_err(|error| Diagnostic::new(format!("{name} is not UTF-8: {error}")))?;
        Self::parse(path, &Arc::new(Source { name, text }))
    }

    /// Parses a text that is at hand; `path` is only recorded.
    ///
    /// # Errors
    /// Everything that is wrong in it, each with its place.
    pub fn parse(path: PathBuf, source: &Arc<Source>) -> Result<Self, Diagnostics> {
        parse::manifest(path, source)
    }
}

/// Relative to where the user stands if it is below that, else absolute.
fn short_name(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}
