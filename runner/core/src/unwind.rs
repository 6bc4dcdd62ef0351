//! From the registers and the stack of a thread that was read from outside to the calls on it.
//!
//! By the unwind tables of the files that were mapped (`.eh_frame`), which every Rust binary and
//! every distribution's library has, debug information or not. Called by `symbols`, after the
//! attempt, in whoever plays the runner: the process that hung, and the one that copied its stack,
//! had nothing to do with any of this.
//!
//! Where tables do not help, the frame pointer is followed; a first frame without tables is taken
//! for one that has not yet made room for itself (a call to nowhere).

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EndianSlice, EvaluationResult, Expression,
    FrameDescriptionEntry, Location, NativeEndian, Register, RegisterRule, UnwindContext,
    UnwindExpression, UnwindSection, UnwindTableRow, Value,
};
use object::{Object, ObjectSection};

use crate::protocol::StackCopy;

/// As many as a handler would have recorded.
const FRAME_LIMIT: usize = crate::memory::HANG_FRAMES;

type Slice<'a> = EndianSlice<'a, NativeEndian>;
/// An entry of the tables, and the section it is in.
type Place<'p, 'a> = (&'p EhFrame<Slice<'a>>, &'p FrameDescriptionEntry<Slice<'a>>);

/// The unwind tables of one file.
pub(crate) struct UnwindTables {
    header: Section,
    frames: Section,
}

struct Section {
    address: u64,
    bytes: Vec<u8>,
}

/// Where the tables are that cover an address of the process, and how far the file was moved.
pub(crate) struct Covering<'a> {
    pub(crate) tables: &'a UnwindTables,
    pub(crate) bias: u64,
}

impl UnwindTables {
    pub(crate) fn of(object: &object::File<'_>) -> Option<Self> {
        let section = |name| {
            let section = object.section_by_name(name)?;
            let bytes = section.data().ok()?.to_vec();
            Some(Section { address: section.address(), bytes })
        };
        Some(Self { header: section(".eh_frame_hdr")?, frames: section(".eh_frame")? })
    }
}

/// The calls on a stack, innermost first. `covering` finds tables for an address of the process.
pub(crate) fn calls<'a>(
    copy: &StackCopy,
    mut covering: impl FnMut(u64) -> Option<Covering<'a>>,
) -> Vec<u64> {
    let mut walk = Walk::new(copy);
    let mut calls = Vec::new();
    while calls.len() < FRAME_LIMIT {
        let Some(address) = walk.address() else {
            break;
        };
        calls.push(address);
        let stepped = match covering(address).map(|tables| walk.step(address, &tables)) {
            None | Some(Step::Uncovered) => walk.step_without_tables(calls.len() == 1),
            Some(Step::Covered(stepped)) => stepped,
        };
        if stepped.is_none() {
            break;
        }
    }
    calls
}

/// DWARF numbers of the registers that matter by themselves.
#[cfg(target_arch = "x86_64")]
mod number {
    pub(super) const FRAME: u16 = 6;
    pub(super) const STACK: u16 = 7;
    pub(super) const RETURN: u16 = 16;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub(super) const FRAME: u16 = 29;
    pub(super) const RETURN: u16 = 30;
    pub(super) const STACK: u16 = 31;
}

const REGISTERS: usize = 33;

/// What the tables said.
enum Step {
    /// Nothing of that address.
    Uncovered,
    /// Where the caller is, or that there is none to be found.
    Covered(Option<()>),
}

/// One frame after the other, from the inside.
struct Walk<'a> {
    /// By DWARF number; `None` where nobody knows.
    registers: [Option<u64>; REGISTERS],
    /// Where the frame is; a return address lies behind its call.
    program: u64,
    is_return_address: bool,
    memory: &'a [u8],
    memory_starts: u64,
}

impl<'a> Walk<'a> {
    fn new(copy: &'a StackCopy) -> Self {
        let mut registers = [None; REGISTERS];
        registers[usize::from(number::STACK)] = Some(copy.registers.stack);
        registers[usize::from(number::FRAME)] = copy.registers.frame;
        // Where there is no link register, its number stands for the program counter.
        let program = cfg!(target_arch = "x86_64").then_some(copy.registers.program);
        registers[usize::from(number::RETURN)] = copy.registers.link.or(program);
        Self {
            registers,
            program: copy.registers.program,
            is_return_address: false,
            memory: &copy.memory.0,
            memory_starts: copy.registers.stack,
        }
    }

    /// An address inside of the call, or of what was executed.
    fn address(&self) -> Option<u64> {
        let address = self.program.checked_sub(u64::from(self.is_return_address))?;
        (!self.is_return_address || self.program != 0).then_some(address)
    }

    /// Goes to the caller by the tables.
    fn step(&mut self, address: u64, covering: &Covering<'_>) -> Step {
        let Covering { tables: UnwindTables { header, frames }, bias } = covering;
        let bases =
            BaseAddresses::default().set_eh_frame_hdr(header.address).set_eh_frame(frames.address);
        let Ok(header) = EhFrameHdr::new(&header.bytes, NativeEndian).parse(&bases, 8) else {
            return Step::Uncovered;
        };
        let section = EhFrame::new(&frames.bytes, NativeEndian);
        let address = address.wrapping_sub(*bias);
        let entry = header.table().map(|table| {
            table.fde_for_address(&section, &bases, address, EhFrame::cie_from_offset)
        });
        let Some(Ok(entry)) = entry else {
            return Step::Uncovered;
        };
        let mut context = UnwindContext::new();
        match entry.unwind_info_for_address(&section, &bases, &mut context, address) {
            Ok(row) => Step::Covered(self.step_by(row, (&section, &entry))),
            Err(_) => Step::Uncovered,
        }
    }

    fn step_by(&mut self, row: &UnwindTableRow<usize>, place: Place<'_, '_>) -> Option<()> {
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                self.register(*register)?.checked_add_signed(*offset)?
            }
            CfaRule::Expression(expression) => self.evaluate(expression, place, None)?,
        };
        let mut caller = self.registers;
        for (register, rule) in row.registers() {
            if let Some(value) = caller.get_mut(usize::from(register.0)) {
                *value = self.restored(*register, rule, cfa, place);
            }
        }
        caller[usize::from(number::STACK)] = Some(cfa);
        let (_, entry) = place;
        self.go_to(caller, entry.cie().return_address_register(), !entry.is_signal_trampoline())
    }

    fn go_to(
        &mut self,
        caller: [Option<u64>; REGISTERS],
        return_register: Register,
        is_return_address: bool,
    ) -> Option<()> {
        let stack = usize::from(number::STACK);
        let program = (*caller.get(usize::from(return_register.0))?)?;
        // The same frame again, or one further in: there is no end to that.
        let is_further_out = caller[stack] > self.registers[stack]
            || (caller[stack] == self.registers[stack] && program != self.program);
        if program == 0 || !is_further_out {
            return None;
        }
        self.registers = caller;
        self.program = program;
        self.is_return_address = is_return_address;
        Some(())
    }

    /// A frame that has done nothing yet, if it is the first; else by the chain of frame pointers.
    fn step_without_tables(&mut self, is_first: bool) -> Option<()> {
        let stack = self.registers[usize::from(number::STACK)]?;
        let mut caller = self.registers;
        if is_first && cfg!(target_arch = "x86_64") {
            caller[usize::from(number::RETURN)] = self.read(stack);
            caller[usize::from(number::STACK)] = stack.checked_add(8);
        } else if is_first {
            // The link register has it already.
        } else {
            let frame =
                self.registers[usize::from(number::FRAME)].filter(|frame| *frame >= stack)?;
            caller[usize::from(number::FRAME)] = self.read(frame);
            caller[usize::from(number::RETURN)] = self.read(frame.checked_add(8)?);
            caller[usize::from(number::STACK)] = frame.checked_add(16);
        }
        self.go_to(caller, Register(number::RETURN), true)
    }

    fn register(&self, register: Register) -> Option<u64> {
        *self.registers.get(usize::from(register.0))?
    }

    fn restored(
        &self,
        register: Register,
        rule: &RegisterRule<usize>,
        cfa: u64,
        place: Place<'_, '_>,
    ) -> Option<u64> {
        match rule {
            RegisterRule::Undefined => None,
            RegisterRule::SameValue => self.register(register),
            RegisterRule::Offset(offset) => self.read(cfa.checked_add_signed(*offset)?),
            RegisterRule::ValOffset(offset) => cfa.checked_add_signed(*offset),
            RegisterRule::Register(register) => self.register(*register),
            RegisterRule::Expression(expression) => {
                self.read(self.evaluate(expression, place, Some(cfa))?)
            }
            RegisterRule::ValExpression(expression) => self.evaluate(expression, place, Some(cfa)),
            RegisterRule::Constant(value) => Some(*value),
            // Not exhaustive there; and `Architectural` is for machines that are not ours.
            _ => None,
        }
    }

    fn evaluate(
        &self,
        expression: &UnwindExpression<usize>,
        (section, entry): Place<'_, '_>,
        cfa: Option<u64>,
    ) -> Option<u64> {
        let expression: Expression<Slice<'_>> = expression.get(section).ok()?;
        let mut evaluation = expression.evaluation(entry.cie().encoding());
        if let Some(cfa) = cfa {
            evaluation.set_initial_value(cfa);
        }
        let mut result = evaluation.evaluate().ok()?;
        loop {
            result = match result {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresMemory { address, .. } => {
                    evaluation.resume_with_memory(Value::Generic(self.read(address)?)).ok()?
                }
                EvaluationResult::RequiresRegister { register, .. } => evaluation
                    .resume_with_register(Value::Generic(self.register(register)?))
                    .ok()?,
                // What an unwind table has no business with.
                _ => return None,
            };
        }
        match evaluation.as_result().last()?.location {
            Location::Address { address } => Some(address),
            _ => None,
        }
    }

    /// A word of the stack, if it was copied.
    fn read(&self, address: u64) -> Option<u64> {
        let offset = usize::try_from(address.checked_sub(self.memory_starts)?).ok()?;
        let bytes = self.memory.get(offset..)?.first_chunk::<8>()?;
        Some(u64::from_ne_bytes(*bytes))
    }
}
