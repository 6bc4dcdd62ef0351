#[runtime::test(backend = "frok")]
async fn works() {}

fn main() {}
