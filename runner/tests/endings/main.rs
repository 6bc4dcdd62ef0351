//! How runs end, stop and are killed, seen from outside: under the other faces, in a terminal, and
//! when runner and supervisors are SIGKILLed at any moment.

mod faces;
mod kills;
mod started;
mod terminal;
