//! Reference programs under schedules that are not their usual ones: the same comes of them.
//!
//! What actors race with each other for (starts, words of readiness, cancels, credit) takes longer
//! now and then, and so do the polls of the program itself.

use runner::{Case, TestResult};

use crate::attempt::root_config;
use crate::every_point::PROGRAMS;
use crate::points::{Choices, jittered, scope};

runner::marks! { timeout = "60s" }

#[runner::test]
fn delayed_programs_do_the_same(case: Case) -> TestResult {
    const ROUNDS: usize = 5;
    let config = root_config(&case)?;
    let mut choices = Choices::new(case.seed());
    for program in PROGRAMS.repeat(ROUNDS) {
        let seed = choices.next();
        let outcome = runtime::block_on_root(config.clone(), jittered(scope(program), seed))?;
        outcome.map_err(|error| format!("{} with {seed}: {error:?}", program.name))?;
    }
    Ok(())
}
