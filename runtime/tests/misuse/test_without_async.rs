#[runtime::test]
fn works() {}

fn main() {}
