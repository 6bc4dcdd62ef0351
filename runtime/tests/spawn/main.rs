//! The contract of the spawn layer: each case on every backend whose children can do what it is about, and what is
//! particular to one. Cases on forks under load are in `stress`.

mod actor;
mod contract;
mod driver;
mod particular;
mod proc;
mod stress;
mod variables;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;

use driver::Case;
use runtime::spawn::{Backend, Capability};

fn main() -> ExitCode {
    runtime::spawn::set_entry(actor::entry);
    runtime::spawn::divert();
    let on_each = CONTRACT.iter().chain(STRESS).flat_map(Clause::cases);
    let alone = PARTICULAR.iter().map(|(name, body)| Case::new(*name, body));
    driver::main(on_each.chain(alone).collect())
}

type Body = Pin<Box<dyn Future<Output = ()>>>;

/// Something that holds on every backend whose children can do what it is about.
struct Clause {
    name: &'static str,
    needs: &'static [Capability],
    body: fn(Backend) -> Body,
}

impl Clause {
    fn cases(&'static self) -> impl Iterator<Item = Case> {
        let body = self.body;
        let able =
            |backend: &Backend| self.needs.iter().all(|need| backend.capabilities().has(*need));
        Backend::ALL.into_iter().filter(able).map(move |backend| {
            Case::new(format!("{}::{backend}", self.name), move || body(backend))
        })
    }
}

macro_rules! clause {
    ($module:ident::$name:ident) => {
        clause!($module::$name, &[])
    };
    ($module:ident::$name:ident, $needs:expr) => {
        Clause {
            name: stringify!($name),
            needs: $needs,
            body: |backend| Box::pin($module::$name(backend)),
        }
    };
}

macro_rules! single {
    ($module:ident::$name:ident) => {
        (stringify!($name), || Box::pin($module::$name()))
    };
}

use Capability::{InheritsHeap, Killable, ParentDeath, Process, SubtreeKill};

const CONTRACT: &[Clause] = &[
    clause!(contract::speaks_over_its_link),
    clause!(contract::knows_who_it_is),
    clause!(contract::ends_when_its_link_does),
    clause!(contract::says_its_exit_code),
    clause!(contract::says_that_it_panicked),
    clause!(contract::tells_all_who_wait),
    clause!(contract::runs_all_of_tokio),
    clause!(contract::runs_commands),
    clause!(contract::has_children_on_every_backend),
    clause!(contract::refuses_a_link_of_the_wrong_kind),
    clause!(contract::refuses_a_name_with_a_nul),
    clause!(contract::is_not_made_for_nobody, &[Process]),
    clause!(contract::ends_when_it_is_dropped, &[Process]),
    clause!(contract::is_named, &[Process]),
    clause!(contract::keeps_its_arguments, &[Process]),
    clause!(contract::gets_its_environment, &[Process]),
    clause!(contract::gets_the_environment_of_now, &[Process]),
    clause!(contract::gets_no_descriptor_but_its_own, &[Process]),
    clause!(contract::gets_fresh_signals, &[Process]),
    clause!(contract::takes_signals, &[Killable]),
    clause!(contract::says_which_signal_killed_it, &[Killable]),
    clause!(contract::says_that_somebody_else_reaped_it, &[Killable]),
    clause!(contract::is_killed_while_it_spins, &[Killable]),
    clause!(contract::is_killed_while_it_is_stopped, &[Killable]),
    clause!(contract::is_killed_with_all_below_it, &[SubtreeKill]),
    clause!(contract::leaves_nothing_in_its_group_when_dead, &[SubtreeKill]),
    clause!(contract::adopts_what_its_children_leave, &[SubtreeKill]),
    clause!(contract::dies_with_its_parent, &[ParentDeath]),
    clause!(contract::leaves_nothing_when_it_is_killed_while_it_breeds, &[SubtreeKill]),
];

const STRESS: &[Clause] = &[clause!(stress::no_child_hangs, &[InheritsHeap])];

/// A name, and what to run.
type Particular = (&'static str, fn() -> Body);

const PARTICULAR: &[Particular] = &[
    single!(particular::the_five_mechanisms_are_five),
    single!(particular::a_thread_that_spins_is_abandoned_and_listed),
    single!(particular::a_thread_cannot_have_an_environment),
    single!(particular::only_exec_starts_another_program),
    single!(particular::a_program_that_does_not_exist_is_named),
    single!(particular::a_program_that_ends_at_once_is_seen_to),
    single!(particular::init_is_refused_twice),
    single!(particular::thread_forkserver_is_refused_after_the_loop_has_stopped),
    single!(particular::a_killed_side_car_is_replaced),
];
