//! Cases that take from two milliseconds to half a second, the longest last in the order of their
//! names: what a schedule that knows nothing does worst.

use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    runner::harness!().main()
}

macro_rules! cases {
    ($($name:ident $millis:literal)*) => {
        $(
            #[runner::test]
            fn $name() -> runner::TestResult {
                std::thread::sleep(Duration::from_millis($millis));
                Ok(())
            }
        )*
    };
}

mod matrix {
    use super::Duration;

    cases!(
        a00 2 a01 3 a02 2 a03 5 a04 4 a05 2 a06 3 a07 8 a08 2 a09 6
        b00 10 b01 12 b02 15 b03 11 b04 20 b05 18 b06 25 b07 14 b08 16 b09 30
        c00 35 c01 40 c02 45 c03 60 c04 50 c05 70 c06 80 c07 90 c08 100 c09 120
        d00 150 d01 200 d02 300 d03 500
    );
}
