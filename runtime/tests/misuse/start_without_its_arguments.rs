struct Counter {
    _limit: u64,
}

#[runtime::actor]
impl Counter {
    fn new(limit: u64) -> Counter {
        Counter { _limit: limit }
    }

    async fn total(&self) -> u64 {
        0
    }
}

async fn start(n: &runtime::Nursery) -> runtime::Result<()> {
    n.start::<Counter>("counter").await?;
    Ok(())
}

fn main() {}
