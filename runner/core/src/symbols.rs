//! From a raw address in another process to function names and source lines.
//!
//! Works on what was recorded (`/proc/PID/maps` and return addresses) and on the files the maps
//! name, never on the process itself: a hung case may hold any lock. Called by whoever plays the
//! runner, after the attempt.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use addr2line::Loader;
use object::{Object, ObjectSegment, ObjectSymbol};

use crate::protocol::StackCopy;
use crate::unwind::{self, Covering, UnwindTables};

/// One function at an address. Several stand at one address where the compiler inlined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Demangled, without the hash; the module's file name where no symbol is known.
    pub function: String,
    /// Source file, if the binary has line tables.
    pub file: Option<String>,
    /// Line in it, from 1.
    pub line: Option<u32>,
}

/// Reads the debug information of each file once.
#[derive(Default)]
pub struct Symboliser {
    modules: HashMap<PathBuf, Option<Module>>,
    /// Files to read instead of what a path in the maps says: a rebuild may have unlinked it.
    substitutes: HashMap<PathBuf, PathBuf>,
}

struct Module {
    loader: Loader,
    /// File offset, size and virtual address of each loaded segment.
    segments: Vec<(u64, u64, u64)>,
    /// Address, size and name of exported functions: all there is in a stripped library.
    exported: Vec<(u64, u64, String)>,
    tables: Option<UnwindTables>,
}

/// The files that were mapped in a process.
pub struct Maps<'a> {
    mappings: Vec<Mapping<'a>>,
}

/// A line of `/proc/PID/maps` that maps a file.
struct Mapping<'a> {
    start: u64,
    end: u64,
    offset: u64,
    holds_code: bool,
    path: &'a str,
}

impl Symboliser {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads `file` wherever maps name `path`.
    pub fn substitute(&mut self, path: PathBuf, file: PathBuf) {
        self.substitutes.insert(path, file);
    }

    /// The functions at each of these addresses, in their order; of those at one address the
    /// innermost inlined one first, and none where no file is mapped.
    pub fn describe(&mut self, maps: &Maps<'_>, addresses: &[u64]) -> Vec<Frame> {
        addresses.iter().flat_map(|address| self.frames(maps, *address)).collect()
    }

    /// The calls on a stack that was copied from outside, innermost first.
    pub fn unwind(&mut self, maps: &Maps<'_>, copy: &StackCopy) -> Vec<u64> {
        for mapping in maps.mappings.iter().filter(|mapping| mapping.holds_code) {
            self.module(mapping.file());
        }
        unwind::calls(copy, |address| {
            let mapping = maps.at(address)?;
            let module = self.modules.get(mapping.file())?.as_ref()?;
            let bias = address.wrapping_sub(module.address_of(mapping.offset_of(address))?);
            Some(Covering { tables: module.tables.as_ref()?, bias })
        })
    }

    fn frames(&mut self, maps: &Maps<'_>, address: u64) -> Vec<Frame> {
        let Some(mapping) = maps.at(address) else {
            return Vec::new();
        };
        let (path, offset) = (mapping.file(), mapping.offset_of(address));
        let frames = self.module(path).and_then(|module| module.frames(offset));
        frames.unwrap_or_else(|| vec![unknown(path, offset)])
    }

    fn module(&mut self, path: &Path) -> Option<&Module> {
        let file = self.substitutes.get(path).cloned().unwrap_or_else(|| path.to_owned());
        self.modules.entry(path.to_owned()).or_insert_with(|| Module::load(&file)).as_ref()
    }
}

impl Module {
    fn load(path: &Path) -> Option<Self> {
        // A device that is mapped may have no end.
        let is_file = fs::metadata(path).ok()?.is_file();
        let bytes = is_file.then(|| fs::read(path))?.ok()?;
        let object = object::File::parse(&*bytes).ok()?;
        let segment = |s: object::Segment<'_, '_>| {
            let (offset, size) = s.file_range();
            (offset, size, s.address())
        };
        let segments = object.segments().map(segment).collect();
        let exported = object.dynamic_symbols().filter(ObjectSymbol::is_definition);
        let exported = exported.filter_map(|symbol| {
            Some((symbol.address(), symbol.size(), symbol.name().ok()?.to_owned()))
        });
        let exported = exported.collect();
        let tables = UnwindTables::of(&object);
        Some(Self { loader: Loader::new(path).ok()?, segments, exported, tables })
    }

    /// The address in the file's own terms of what stands there in it.
    fn address_of(&self, offset: u64) -> Option<u64> {
        let holds = |(start, size, _): &&(u64, u64, u64)| {
            (*start..start.saturating_add(*size)).contains(&offset)
        };
        let (start, _, base) = self.segments.iter().find(holds)?;
        Some((offset - start).wrapping_add(*base))
    }

    fn frames(&self, offset: u64) -> Option<Vec<Frame>> {
        let address = self.address_of(offset)?;
        let mut frames = self.inlined(address);
        // Line tables alone know only the last part of a function's name; its symbol knows all.
        let symbol = self.symbol(address);
        match (frames.last_mut(), symbol) {
            (Some(outermost), Some(symbol)) => outermost.function = symbol,
            (None, Some(function)) => frames.push(Frame { function, file: None, line: None }),
            (Some(_), None) => {}
            (None, None) => return None,
        }
        Some(frames)
    }

    fn inlined(&self, address: u64) -> Vec<Frame> {
        let mut frames = Vec::new();
        let Ok(mut found) = self.loader.find_frames(address) else {
            return frames;
        };
        while let Ok(Some(frame)) = found.next() {
            let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
            let location = frame.location.as_ref();
            frames.push(Frame {
                function: name.map_or_else(|| "?".to_owned(), |name| demangled(&name)),
                file: location.and_then(|l| l.file.map(str::to_owned)),
                line: location.and_then(|l| l.line),
            });
        }
        frames
    }

    fn symbol(&self, address: u64) -> Option<String> {
        if let Some(symbol) = self.loader.find_symbol(address) {
            return Some(demangled(symbol));
        }
        let holds =
            |(start, size, _): &&(u64, u64, String)| (*start..start + size).contains(&address);
        self.exported.iter().find(holds).map(|(_, _, name)| name.clone())
    }
}

impl<'a> Maps<'a> {
    /// From the text of `/proc/PID/maps`.
    pub fn parse(text: &'a str) -> Self {
        Self { mappings: text.lines().filter_map(parse_mapping).collect() }
    }

    fn at(&self, address: u64) -> Option<&Mapping<'a>> {
        self.mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&address))
    }
}

impl<'a> Mapping<'a> {
    fn file(&self) -> &'a Path {
        Path::new(self.path.trim_end_matches(" (deleted)"))
    }

    /// Where in the file lies what was at an address that this covers.
    fn offset_of(&self, address: u64) -> u64 {
        (address - self.start).wrapping_add(self.offset)
    }
}

fn parse_mapping(line: &str) -> Option<Mapping<'_>> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let permissions = words.next()?;
    let offset = words.next()?;
    let path = words.nth(2)?.trim_start();
    path.starts_with('/').then_some(())?;
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        offset: u64::from_str_radix(offset, 16).ok()?,
        holds_code: permissions.contains('x'),
        path,
    })
}

fn demangled(symbol: &str) -> String {
    let full = addr2line::demangle_auto(symbol.into(), None).into_owned();
    match full.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            name.to_owned()
        }
        Some(_) | None => full,
    }
}

fn unknown(path: &Path, offset: u64) -> Frame {
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    Frame { function: format!("{name}+{offset:#x}"), file: None, line: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn a_function_to_be_found() -> u64 {
        a_function_to_be_found as fn() -> u64 as usize as u64
    }

    #[test]
    fn finds_a_function_of_this_very_binary_with_its_line() {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let address = a_function_to_be_found() + 1;
        let frames = Symboliser::new().describe(&Maps::parse(&maps), &[address]);
        let frame = frames.last().unwrap();
        assert!(frame.function.ends_with("symbols::tests::a_function_to_be_found"), "{frames:?}");
        assert!(frame.file.as_deref().is_some_and(|f| f.ends_with("symbols.rs")), "{frames:?}");
        assert!(frame.line.is_some_and(|l| l > 0));
    }

    #[test]
    fn says_nothing_of_an_address_where_no_file_is_mapped() {
        for maps in ["", "1000-9000 rw-p 00000000 00:00 0 [heap]\n"] {
            assert!(Symboliser::new().describe(&Maps::parse(maps), &[4096]).is_empty(), "{maps}");
        }
    }
}
