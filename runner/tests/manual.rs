//! What is written beside the code and rests on it: the manual shows no manifest that would be
//! refused, and `ci/switch-off` finds every text that it takes away.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runner_core::diagnostic::Source;
use runner_core::manifest::Manifest;

const MANUAL: &str = include_str!("../../docs/runner.md");
const SWITCHES: &str = include_str!("../../suites/fixtures/switches.toml");

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

#[test]
fn every_switch_finds_its_text_once() {
    let switches: toml::Table = SWITCHES.parse().expect("a table of switches");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (name, switch) in &switches {
        let edits = switch.get("edits").and_then(toml::Value::as_array);
        for edit in edits.map_or(std::slice::from_ref(switch), Vec::as_slice) {
            let [file, find] = ["file", "find"].map(|key| edit[key].as_str().expect("a text"));
            let text = fs::read_to_string(workspace.join(file)).expect(file);
            assert_eq!(text.matches(find).count(), 1, "{name}: {file} has this once:\n{find}");
        }
    }
}
