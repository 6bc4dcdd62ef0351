//! What must not compile, and what the compiler says of it: one program for each, its message beside it.
//!
//! `TRYBUILD=overwrite cargo test -p runtime --test misuse` writes the messages anew; read them before you keep them.

#[test]
fn misuse_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/misuse/*.rs");
}
