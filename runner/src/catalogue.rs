//! `runner list`: cases and what would be done with each.

use std::fmt::Write;

use runner_core::expand::{Case, Plan};
use runner_core::manifest::{Manifest, Suite};
use serde_json::json;

use crate::cli::ListFormat;

/// The whole list, with a newline at its end.
pub fn text(manifest: &Manifest, cases: &[Case], format: ListFormat) -> String {
    match format {
        ListFormat::Human => human(cases),
        ListFormat::Oneline => oneline(manifest, cases),
        ListFormat::Json => json(manifest, cases),
    }
}

/// Why a case is not run, if it is not.
pub fn why_not(case: &Case) -> Option<String> {
    match &case.plan {
        Plan::Run => None,
        Plan::Lacking { reason, place }
        | Plan::Skip { reason, place }
        | Plan::Ignored { reason, place } => Some(format!("{reason} ({place})")),
        Plan::Unavailable { reason } => Some(reason.clone()),
    }
}

fn human(cases: &[Case]) -> String {
    let mut text = String::new();
    let mut suite = None;
    for case in cases {
        if suite != Some(&case.suite) {
            let _ = writeln!(text, "{}:", case.suite);
            suite = Some(&case.suite);
        }
        match why_not(case) {
            None => drop(writeln!(text, "    {}", case.id)),
            Some(why) => drop(writeln!(text, "    {}  {}: {why}", case.id, plan_word(&case.plan))),
        }
    }
    text
}

/// As nextest's, so that what reads that reads this.
fn oneline(manifest: &Manifest, cases: &[Case]) -> String {
    let mut text = String::new();
    for case in cases {
        let _ = writeln!(text, "{} {}", binary_id(manifest, case), case.id);
    }
    text
}

fn json(manifest: &Manifest, cases: &[Case]) -> String {
    let list: Vec<_> = cases
        .iter()
        .map(|case| {
            json!({
                "id": case.id,
                "suite": case.suite,
                "binary-id": binary_id(manifest, case),
                "test": case.test,
                "backend": case.backend,
                "axes": case.axes,
                "place": case.place.to_string(),
                "plan": plan_word(&case.plan),
                "reason": why_not(case),
                "timeout": case.timeout.as_secs_f64(),
                "group": case.group,
                "marks": case.marks,
            })
        })
        .collect();
    format!("{:#}\n", json!({ "test-count": list.len(), "cases": list }))
}

fn binary_id(manifest: &Manifest, case: &Case) -> String {
    manifest.suite(&case.suite).map(Suite::binary_id).unwrap_or_default()
}

fn plan_word(plan: &Plan) -> &'static str {
    match plan {
        Plan::Run => "run",
        Plan::Lacking { .. } => "needs",
        Plan::Skip { .. } => "skipped",
        Plan::Ignored { .. } => "ignored",
        Plan::Unavailable { .. } => "unavailable",
    }
}
