//! The guide in `docs/guide` says what is so: each of its programs is a section of a file that is compiled and run, and what it
//! prints is what that prints, on every backend.
//!
//! A block of Rust stands behind `<!-- FILE#SECTION -->`; the section begins in the file behind `// guide: SECTION` and ends before
//! `// guide: end`. A block of text behind `<!-- prints: EXAMPLE -->` is that example's output. `GUIDE=write` writes the blocks
//! anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use runtime::Backend;

#[test]
fn every_program_of_the_guide_is_one_that_is_run() {
    for chapter in chapters() {
        let text = fs::read_to_string(&chapter).expect("a chapter is text");
        let renewed = renew(&text, &|source| match source {
            Source::Section { file, section } => Some(cut(file, section)),
            Source::Output { .. } => None,
        });
        settle(&chapter, &text, &renewed);
    }
}

#[test]
fn every_output_in_the_guide_is_printed_on_every_backend() {
    for chapter in chapters() {
        let text = fs::read_to_string(&chapter).expect("a chapter is text");
        for backend in Backend::ALL {
            let renewed = renew(&text, &|source| match source {
                Source::Section { .. } => None,
                Source::Output { example } => Some(printed(example, backend)),
            });
            settle(&chapter, &text, &renewed);
        }
    }
}

#[test]
fn every_block_of_rust_in_the_guide_says_where_it_is_from() {
    for chapter in chapters() {
        let text = fs::read_to_string(&chapter).expect("a chapter is text");
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            if *line == "```rust" {
                let above = index.checked_sub(1).map(|above| lines[above]);
                let is_from = above.and_then(Source::parse).is_some();
                assert!(is_from, "{}:{}: a program from nowhere", chapter.display(), index + 1);
            }
        }
    }
}

/// Where a block is from.
#[derive(Clone, Copy)]
enum Source<'t> {
    Section { file: &'t str, section: &'t str },
    Output { example: &'t str },
}

impl<'t> Source<'t> {
    fn parse(line: &'t str) -> Option<Source<'t>> {
        let inner = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?;
        if let Some(example) = inner.strip_prefix("prints: ") {
            return Some(Source::Output { example });
        }
        let (file, section) = inner.split_once('#')?;
        Some(Source::Section { file, section })
    }
}

/// `text`, with what `content` has for the blocks that say where they are from.
fn renew(text: &str, content: &dyn Fn(Source<'_>) -> Option<String>) -> String {
    let mut renewed = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        push(&mut renewed, line);
        let Some(new) = Source::parse(line).and_then(content) else { continue };
        let fence = lines.next().unwrap_or_default();
        assert!(fence.starts_with("```"), "a block stands behind `{line}`");
        push(&mut renewed, fence);
        renewed.push_str(&new);
        push(&mut renewed, "```");
        assert!(lines.by_ref().any(|line| line == "```"), "the block behind `{line}` ends");
    }
    renewed
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn settle(chapter: &Path, text: &str, renewed: &str) {
    if std::env::var_os("GUIDE").is_some_and(|how| how == "write") {
        fs::write(chapter, renewed).expect("the guide can be written");
    } else {
        assert_eq!(text, renewed, "{} (GUIDE=write renews it)", chapter.display());
    }
}

fn cut(file: &str, section: &str) -> String {
    let text = fs::read_to_string(workspace().join(file));
    let text = text.unwrap_or_else(|error| panic!("{file}: {error}"));
    let begin = format!("// guide: {section}");
    let mut lines = text.lines().skip_while(|line| *line != begin);
    assert!(lines.next().is_some(), "{file} has no section {section}");
    let lines: Vec<&str> = lines.take_while(|line| *line != "// guide: end").collect();
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn printed(example: &str, backend: Backend) -> String {
    let test = std::env::current_exe().expect("this program has a path");
    let profile = test.parent().and_then(Path::parent).expect("it is in PROFILE/deps");
    let output = Command::new("timeout")
        .args(["--kill-after=5", "30"])
        .arg(profile.join("examples").join(example))
        .args(["--backend", backend.name()])
        .output();
    let output = output.expect("`timeout` is installed");
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{example} on {backend}: {}\n{complained}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn chapters() -> Vec<PathBuf> {
    let folder = workspace().join("docs/guide");
    let mut chapters: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("there is a guide")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    chapters.sort();
    assert!(!chapters.is_empty(), "{} is empty", folder.display());
    chapters
}

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
