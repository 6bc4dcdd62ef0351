//! The thousand cases of `trivial` as tests of the standard harness, for those who run such.

macro_rules! ten_tests {
    ($($name:ident)*) => { $(#[test] fn $name() {})* };
}

macro_rules! ten_modules {
    ($($name:ident)*) => { $(mod $name { ten_tests!(t0 t1 t2 t3 t4 t5 t6 t7 t8 t9); })* };
}

macro_rules! hundreds {
    ($($name:ident)*) => { $(mod $name { ten_modules!(a b c d e f g h i j); })* };
}

mod sync {
    hundreds!(h0 h1 h2 h3 h4 h5 h6 h7 h8 h9);
}
