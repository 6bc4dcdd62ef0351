//! What the examples share: the backend named on their command line.

use runtime::Backend;

/// The backend after `--backend`; without it, `exec`.
pub(crate) fn from_args() -> runtime::Result<Backend> {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (None, _) => Ok(Backend::Exec),
        (Some("--backend"), Some(name)) => name.parse().map_err(runtime::Error::user),
        (Some(_), _) => Err(runtime::Error::message("usage: [--backend NAME]")),
    }
}
