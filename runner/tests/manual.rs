//! The manual shows no manifest that would be refused.

use std::path::PathBuf;
use std::sync::Arc;

use runner_core::diagnostic::Source;
use runner_core::manifest::Manifest;

const MANUAL: &str = include_str!("../../docs/runner.md");

#[test]
fn the_manifest_of_the_manual_has_no_error() {
    let begin = MANUAL.find("```toml\n").expect("a manifest in the manual") + "```toml\n".len();
    let length = MANUAL[begin..].find("```").expect("its end");
    let text = &MANUAL[begin..begin + length];
    let source = Source { name: "docs/runner.md".into(), text: text.into() };
    if let Err(errors) = Manifest::parse(PathBuf::from("runner.toml"), &Arc::new(source)) {
        panic!("{errors}");
    }
}
