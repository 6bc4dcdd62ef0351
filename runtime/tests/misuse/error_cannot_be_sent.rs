#[derive(Debug)]
struct TooMany;

#[runtime::remote]
async fn count() -> Result<u64, TooMany> {
    Err(TooMany)
}

fn main() {}
